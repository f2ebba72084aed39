"""Decoding a whole clip within bounds: upright RGB frames with true times, and sound on the same clock.

This runs inside the sandbox child; ``Sandbox.decode`` is the door for raw clips.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from deemo_dist.errors import MediaError
from deemo_dist.media.container import (
    audio_stream,
    duration,
    measured_rate,
    open_media,
    shown_size,
    stream_rate,
    turns,
    video_stream,
)
from deemo_dist.media.types import Bounds, DecodedClip

SLACK_SECONDS = 0.010
MAX_BAD = 0.05


class Sink(Protocol):
    """Takes the frames as they are decoded, so that a clip is never held twice."""

    def frame(self, image: np.ndarray, time: float) -> None:
        """One uint8 [H, W, 3] RGB frame, ``time`` in seconds from the first frame."""


@dataclass(frozen=True)
class Tail:
    """What is known at a clip's end: average rate, and the waveform (float32 [N] mono) at ``sample_rate``."""

    fps: float
    waveform: np.ndarray | None
    sample_rate: int


@dataclass
class _Tally:
    """Counts while decoding."""

    packets: int = 0
    bad: int = 0
    frames: int = 0
    first: float | None = None
    last: float = -1.0
    chunks: list[tuple[float, np.ndarray]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


def decode_into(path: Path, bounds: Bounds, sink: Sink) -> Tail:
    """Decode ``path`` into ``sink``. Raises ``MediaError``: reasons of ``open_media`` and too_large, too_long, corrupt.

    Headers are held against the bounds before the first frame is decoded, and the truth while decoding.
    """
    with open_media(path) as container:
        video, sound = video_stream(container), audio_stream(container)
        _check_headers(container, video, bounds)
        video.codec_context.options = {"max_pixels": str(bounds.max_pixels)}
        for stream in filter(None, (video, sound)):
            stream.codec_context.thread_count = 1
        reader = _Reader(bounds, sink, video, sound)
        for kind, frame in reader.decoded(container):
            if kind == "video":
                reader.take_video(frame)
            else:
                reader.take_sound(frame)
        return reader.finish(container)


def decode_here(path: Path, bounds: Bounds) -> DecodedClip:
    """Decode in this very process: for trusted files (our own samples and tests); raises as ``decode_into``."""
    images: list[np.ndarray] = []
    times: list[float] = []

    class _Keep:
        def frame(self, image: np.ndarray, time: float) -> None:
            images.append(image)
            times.append(time)

    tail = decode_into(path, bounds, _Keep())
    return DecodedClip(
        frames=np.stack(images),
        frame_times=np.array(times, np.float64),
        fps=tail.fps,
        waveform=tail.waveform,
        sample_rate=tail.sample_rate,
    )


def _check_headers(container: Any, video: Any, bounds: Bounds) -> None:
    """Refuse by the headers alone what is beyond the bounds."""
    context = video.codec_context
    pixels = context.width * context.height
    check_pixels(pixels, bounds)
    seconds = duration(container, video)
    frames = max(video.frames, int(seconds * stream_rate(video)) if seconds <= bounds.max_seconds else 0)
    if seconds > bounds.max_seconds or frames > bounds.max_frames:
        raise MediaError(f"{seconds:.0f} s, {frames} frames: longer than allowed", reason="too_long")
    check_bytes(3 * pixels * frames, bounds)


def check_pixels(pixels: int, bounds: Bounds) -> None:
    """Refuse frames of more than ``max_pixels``."""
    if pixels > bounds.max_pixels:
        raise MediaError(f"frames of {pixels} pixels, {bounds.max_pixels} are allowed", reason="too_large")


def check_bytes(total: int, bounds: Bounds) -> None:
    """Refuse a clip whose decoded frames would not fit the memory bound."""
    if total > bounds.memory_bytes:
        raise MediaError(f"{total >> 20} MiB decoded, {bounds.memory_mb} are allowed", reason="too_large")


class _Reader:
    """The state of one pass over a clip."""

    def __init__(self, bounds: Bounds, sink: Sink, video: Any, sound: Any | None) -> None:
        from av.video.reformatter import VideoReformatter

        self.bounds, self.sink, self.video, self.sound = bounds, sink, video, sound
        self.tally = _Tally()
        self.size: tuple[int, int] | None = None
        self.rate = sound.codec_context.sample_rate if sound is not None else 0
        self.resampler: Any = None
        self.convert = VideoReformatter()

    def decoded(self, container: Any) -> Iterator[tuple[str, Any]]:
        """Frames of both streams in file order; packets that do not decode are counted."""
        import av

        streams = [stream for stream in (self.video, self.sound) if stream is not None]
        packets = container.demux(streams)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                self.tally.bad += 1
                packet = None
            if packet is None:
                return
            self.tally.packets += packet.stream is self.video
            try:
                frames = packet.decode()
            except av.error.MemoryError:
                raise MemoryError from None
            except av.error.FFmpegError:
                self.tally.bad += packet.stream is self.video
                continue
            for frame in frames:
                yield ("video" if packet.stream is self.video else "audio"), frame

    def take_video(self, frame: Any) -> None:
        """Bring a frame upright and hand it on, with a time after the last one's."""
        tally = self.tally
        tally.bad += bool(frame.is_corrupt)
        elapsed = self._elapsed(frame)
        if elapsed > self.bounds.max_seconds or tally.frames >= self.bounds.max_frames:
            raise MediaError(f"more than {tally.frames} frames, {elapsed:.0f} s: too long", reason="too_long")
        turned = turns(frame)
        if self.size is None:
            aspect = self.video.sample_aspect_ratio
            self.size = shown_size(frame.width, frame.height, aspect, 0)
        width, height = self.size
        check_pixels(width * height, self.bounds)
        check_bytes(3 * width * height * (tally.frames + 1), self.bounds)
        image = self.convert.reformat(frame, width=width, height=height, format="rgb24", threads=1).to_ndarray()
        self.sink.frame(np.ascontiguousarray(np.rot90(image, turned)), elapsed)
        tally.frames += 1
        tally.times.append(elapsed)

    def _elapsed(self, frame: Any) -> float:
        """Seconds since the first frame; a missing or repeated time moves on by one frame."""
        tally = self.tally
        step = float(1 / (stream_rate(self.video) or 25))
        time = frame.time if frame.pts is not None else (tally.first or 0.0) + tally.last + step
        if tally.first is None:
            tally.first, tally.last = time, 0.0
            return 0.0
        elapsed = time - tally.first
        if elapsed <= tally.last:
            elapsed = tally.last + min(step, 1e-3)
        tally.last = elapsed
        return elapsed

    def take_sound(self, frame: Any) -> None:
        """Mix a sound frame to mono float and keep it with its time."""
        import av

        start = frame.time if frame.pts is not None else None
        if start is None:
            start = self.tally.chunks[-1][0] + len(self.tally.chunks[-1][1]) / self.rate if self.tally.chunks else 0.0
        if self.tally.first is not None and start - self.tally.first > self.bounds.max_seconds:
            raise MediaError("the sound is longer than allowed", reason="too_long")
        if self.resampler is None:
            self.resampler = av.AudioResampler(format="fltp", layout="mono", rate=self.rate)
        frame.pts = None
        try:
            mixed = self.resampler.resample(frame)
        except (ValueError, av.error.FFmpegError):
            self.resampler = av.AudioResampler(format="fltp", layout="mono", rate=self.rate)
            mixed = self.resampler.resample(frame)
        for part in mixed:
            samples = part.to_ndarray()[0].astype(np.float32)
            self.tally.chunks.append((start, samples))
            start += len(samples) / self.rate

    def finish(self, container: Any) -> Tail:
        """Judge what was decoded, and put the sound on the video's clock."""
        tally = self.tally
        if not tally.frames:
            raise MediaError("no frame could be decoded", reason="corrupt")
        fps = measured_rate(np.array(tally.times)) if tally.frames > 1 else stream_rate(self.video) or 25
        declared = stream_rate(self.video)
        if declared and abs(float(declared / fps) - 1) < 0.02:
            fps = declared
        end = tally.last + float(1 / fps)
        waveform = self._waveform()
        self._check_whole(container, end, 0.0 if waveform is None else len(waveform) / self.rate)
        return Tail(fps=float(fps), waveform=waveform, sample_rate=self.rate if waveform is not None else 0)

    def _check_whole(self, container: Any, end: float, sound_end: float) -> None:
        """Refuse a clip of which more than a twentieth is damaged or missing."""
        tally = self.tally
        if tally.bad > MAX_BAD * max(tally.packets, 1):
            raise MediaError(f"{tally.bad} of {tally.packets} frames are damaged", reason="corrupt")
        declared, found = duration(container, self.video), end
        if not self.video.duration:
            found = max(end, sound_end)
        if found < declared * (1 - MAX_BAD) - 0.1:
            raise MediaError(f"it ends after {found:.1f} of {declared:.1f} s", reason="corrupt")

    def _waveform(self) -> np.ndarray | None:
        """One mono waveform from time zero: gaps are silence, overlaps and what precedes the first frame are cut."""
        parts: list[np.ndarray] = []
        filled = 0
        for start, samples in self.tally.chunks:
            place = round((start - (self.tally.first or 0.0)) * self.rate)
            if not parts and place < 0:
                samples = samples[min(-place, len(samples)) :]
            elif place > filled + SLACK_SECONDS * self.rate or (not parts and place > 0):
                parts.append(np.zeros(place - filled, np.float32))
                filled = place
            elif place < filled - SLACK_SECONDS * self.rate:
                samples = samples[min(filled - place, len(samples)) :]
            if len(samples):
                parts.append(samples)
                filled += len(samples)
        if not parts:
            return None
        return np.clip(np.nan_to_num(np.concatenate(parts)), -1.0, 1.0)
