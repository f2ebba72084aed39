"""Opening a container safely, and its facts before anything is decoded."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from deemo_dist.errors import MediaError
from deemo_dist.media.handed import Handed
from deemo_dist.media.types import Bounds, VideoInfo

# Demuxers of real media only: FFmpeg also has readers of play lists and scripts (hls, concat, tty, image sequences)
# that open other files or URLs named in the input, or that show any text file as a picture.
DEMUXERS = "mov,mp4,m4a,3gp,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,wav,flac,mp3,aac,h264,hevc,ivf,nut"
WORKING_FRAMES = 4  # pictures that are held at once on a clip's way: decoded, converted, turned, sent
MAGIC = (b"\x1aE\xdf\xa3", b"RIFF", b"OggS", b"FLV", b"\x00\x00\x01\xba", b"\x30\x26\xb2\x75")


Source = Path | bytes | BinaryIO | Handed


def open_media(source: Source) -> Any:
    """Open ``source`` for demuxing with PyAV. Raises ``MediaError``: missing, empty, not_media or corrupt."""
    import av

    source = io.BytesIO(source) if isinstance(source, bytes) else source
    head = _head(source)
    name: Any = f"file:{source.absolute()}" if isinstance(source, Path) else source
    if isinstance(source, Handed):
        name = source.reader()
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file"}
    try:
        return av.open(name, options=options, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        known = head[4:8] in (b"ftyp", b"moov", b"mdat") or head.startswith(MAGIC)
        if known:
            raise MediaError(f"the container cannot be read ({_say(error)})", reason="corrupt") from None
        raise MediaError("the file is not audio or video", reason="not_media") from None


def _head(source: Path | BinaryIO | Handed) -> bytes:
    """The first bytes of the source; refuses what is missing, empty or no regular file."""
    if isinstance(source, Handed):
        head = source.head(16)
    elif isinstance(source, Path):
        if not source.is_file():
            raise MediaError("there is no such file", reason="missing")
        with source.open("rb") as file:
            head = file.read(16)
    else:
        source.seek(0)
        head = source.read(16)
        source.seek(0)
    if not head:
        raise MediaError("the file has no bytes", reason="empty")
    return head


def _say(error: Exception) -> str:
    """FFmpeg's words without the file's name."""
    return getattr(error, "strerror", None) or type(error).__name__


def video_stream(container: Any) -> Any:
    """The video stream, cover pictures left aside. Raises ``MediaError`` (no_video)."""
    import av

    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic and stream.codec_context is not None:
            return stream
    raise MediaError("the file has no video", reason="no_video")


def audio_stream(container: Any) -> Any | None:
    """The first sound stream that can be decoded, or None."""
    return next((one for one in container.streams.audio if one.codec_context is not None), None)


def shown_size(width: int, height: int, aspect: Fraction | None, quarter_turns: int) -> tuple[int, int]:
    """Width and height in square pixels after ``quarter_turns``; an absurd pixel aspect is ignored."""
    if aspect and Fraction(1, 4) <= aspect <= 4:
        width = 2 * max(1, round(width * aspect / 2)) if aspect != 1 else width
    return (height, width) if quarter_turns % 2 else (width, height)


def turns(frame: Any) -> int:
    """Counter-clockwise quarter turns that bring a decoded frame upright (its display matrix's rotation)."""
    return round(frame.rotation / 90) % 4


def duration(container: Any, stream: Any) -> float:
    """A stream's duration in seconds by its header, the container's otherwise, 0.0 when neither says."""
    if stream is not None and stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else 0.0


def stream_rate(stream: Any) -> Fraction:
    """The average frame rate by the header, 0 when it says none or nonsense."""
    rate = stream.average_rate or stream.guessed_rate
    return Fraction(rate) if rate and 0 < rate <= 1000 else Fraction(0)


def first_time(source: Source) -> float:
    """Seconds at which the first picture is shown on the file's own clock. Raises ``MediaError`` as ``probe``."""
    with open_media(source) as container:
        stream = video_stream(container)
        frame = first_frame(container, stream)
        return float(frame.time) if frame.pts is not None else 0.0


def first_frame(container: Any, stream: Any) -> Any:
    """The first picture that decodes. Raises ``MediaError`` (corrupt)."""
    import av

    stream.codec_context.thread_count = 1
    said = "the video has no frames"
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.MemoryError:
                raise MemoryError from None
            except av.error.FFmpegError as error:
                said = f"no frame can be decoded ({_say(error)})"
                continue
            if frames:
                return frames[0]
    except av.error.FFmpegError as error:
        said = f"no frame can be read ({_say(error)})"
    raise MediaError(said, reason="corrupt")


def check_headers(container: Any, video: Any, bounds: Bounds) -> None:
    """Refuse by the headers alone what is beyond the bounds: ``MediaError`` too_large, too_long. A rate is not
    believed: some recorders write that of their clock."""
    context = video.codec_context
    pixels = context.width * context.height
    check_pixels(pixels, bounds)
    check_working_set(pixels, bounds)
    seconds = duration(container, video)
    if seconds > bounds.max_seconds or video.frames > bounds.max_frames:
        raise MediaError(f"{seconds:.0f} s, {video.frames} frames: longer than allowed", reason="too_long")


def check_pixels(pixels: int, bounds: Bounds) -> None:
    """Refuse frames of more than ``max_pixels``."""
    if pixels > bounds.max_pixels:
        raise MediaError(f"frames of {pixels} pixels, {bounds.max_pixels} are allowed", reason="too_large")


def check_working_set(pixels: int, bounds: Bounds) -> None:
    """Refuse frames of which a few would not fit the memory bound."""
    if 3 * pixels * WORKING_FRAMES > bounds.memory_bytes:
        raise MediaError(f"a frame needs more than {bounds.memory_mb} MiB", reason="too_large")


def probe(source: Source, bounds: Bounds | None = None) -> VideoInfo:
    """Facts of a video by its headers, its packets and one decoded frame. Raises ``MediaError`` as ``open_media``,
    and, where ``bounds`` are given, too_large and too_long.

    Use on trusted bytes (our own files); raw clips go through ``Sandbox.probe``.
    """
    with open_media(source) as container:
        stream = video_stream(container)
        if bounds is not None:
            check_headers(container, stream, bounds)
            stream.codec_context.options = {"max_pixels": str(bounds.max_pixels)}
        first = first_frame(container, stream)
        times = packet_times(source, bounds)
        ends = sound_packets(source) if audio_stream(container) is not None else (0.0, 0.0)
        zero = float(first.time) if first.pts is not None else 0.0
        return _info(container, stream, first, times, (max(0.0, ends[0] - zero), ends[1]))


def packet_times(source: Source, bounds: Bounds | None = None) -> np.ndarray:
    """Presentation times (float64 seconds, sorted) of the video's packets that an edit list does not drop; where the
    file tells none, by its rate. Opens the file anew, for not every container can go back. Raises ``MediaError``
    (corrupt; too_long)."""
    import av

    times: list[int] = []
    silent = 0
    with open_media(source) as container:
        stream = video_stream(container)
        try:
            for packet in container.demux(stream):
                if not packet.size or packet.is_discard:
                    continue
                if packet.pts is None:
                    silent += 1
                else:
                    times.append(packet.pts)
                if bounds is not None and len(times) + silent > bounds.max_frames:
                    raise MediaError(f"more than {bounds.max_frames} frames: longer than allowed", reason="too_long")
        except av.error.FFmpegError as error:
            raise MediaError(f"its packets cannot be read ({_say(error)})", reason="corrupt") from None
        if not times and not silent:
            raise MediaError("the video has no frames", reason="corrupt")
        if not times:
            return np.arange(silent) / float(stream_rate(stream) or 25)
        return np.sort(np.array(times, np.float64)) * float(stream.time_base)


def sound_packets(source: Source) -> tuple[float, float]:
    """When the last packet of sound ends on the file's own clock, and how long one is at most (seconds); zeros where
    the packets do not say. Raises ``MediaError`` as ``open_media``."""
    import av

    end = step = 0.0
    with open_media(source) as container:
        try:
            for packet in container.demux(audio_stream(container)):
                if packet.size and packet.pts is not None and not packet.is_discard:
                    lasts = float((packet.duration or 0) * packet.time_base)
                    end, step = max(end, float(packet.pts * packet.time_base) + lasts), max(step, lasts)
        except av.error.FFmpegError:
            return 0.0, 0.0  # whoever decodes it will say what is wrong
    return end, step


def _info(container: Any, stream: Any, first: Any, times: np.ndarray, ends: tuple[float, float]) -> VideoInfo:
    turned = turns(first)
    width, height = shown_size(first.width, first.height, stream.sample_aspect_ratio, turned)
    rate = true_rate(stream_rate(stream), times)
    sound = audio_stream(container)
    return VideoInfo(
        width=width,
        height=height,
        fps=rate,
        frames=len(times),
        seconds=float(times[-1] - times[0]) + float(1 / rate),
        has_audio=sound is not None,
        audio_seconds=duration(container, sound) if sound is not None else 0.0,
        sample_rate=sound.codec_context.sample_rate if sound is not None else 0,
        rotation=-90 * turned % 360,
        codec=stream.codec_context.name,
        sound_end=ends[0],
        sound_step=ends[1],
    )


def true_rate(declared: Fraction, times: np.ndarray) -> Fraction:
    """The average rate of frames at ``times``: the ``declared`` one where it agrees within 2 %, else as measured."""
    if len(times) < 2:
        return declared or Fraction(25)
    found = measured_rate(times)
    return declared if declared and abs(float(declared / found) - 1) < 0.02 else found


def measured_rate(times: np.ndarray) -> Fraction:
    """Average rate of strictly increasing ``times``; 25 for a single frame, which has none."""
    if len(times) < 2 or times[-1] <= times[0]:
        return Fraction(25)
    rate = min((len(times) - 1) / (times[-1] - times[0]), 1000.0)
    return Fraction(rate).limit_denominator(1001) or Fraction(1, 1001)
