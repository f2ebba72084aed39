"""Decoding a whole clip within bounds, as a stream: upright RGB frames with true times, and sound on the same clock.

This runs inside the sandbox child; ``Sandbox.open`` is the door for raw clips.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from deemo_dist.errors import MediaError
from deemo_dist.media.container import (
    audio_stream,
    check_headers,
    check_pixels,
    check_working_set,
    duration,
    first_time,
    open_media,
    shown_size,
    stream_rate,
    true_rate,
    turns,
    video_stream,
)
from deemo_dist.media.handed import Handed
from deemo_dist.media.soundtrack import SOUND_RATE, SoundTrack
from deemo_dist.media.types import Bounds, DecodedClip

MAX_BAD = 0.05


class Receiver(Protocol):
    """Takes what is decoded as it comes, so that no clip is ever held whole in here."""

    def frame(self, image: np.ndarray, time: float) -> None:
        """One uint8 [H, W, 3] RGB frame, ``time`` in seconds from the first frame."""

    def sound(self, samples: np.ndarray) -> None:
        """The next block of sound: float32 [N] mono in [-1, 1] at 16 kHz, from time 0 on."""


@dataclass(frozen=True)
class Tail:
    """What is known at a clip's end: exact average rate, and whether there was sound."""

    fps: Fraction
    has_sound: bool


@dataclass
class _Tally:
    """Counts while decoding."""

    packets: int = 0
    bad: int = 0
    sounds: int = 0
    bad_sounds: int = 0
    heard: int = 0
    frames: int = 0
    first: float | None = None
    last: float = -1.0
    times: list[float] = field(default_factory=list)


def decode_into(
    source: Path | Handed, bounds: Bounds, receiver: Receiver, *, picture: bool = True, sound: bool = True
) -> Tail:
    """Decode ``source`` into ``receiver``; without ``sound`` only its pictures, without ``picture`` only its sound.

    Headers are held against the bounds before the first frame is decoded, and the truth while decoding. Raises
    ``MediaError``: reasons of ``open_media`` and too_large, too_long, corrupt, bad_audio (more than a twentieth of the
    sound lost; less is silence in its place).
    """
    zero = first_time(source) if sound else 0.0
    with open_media(source) as container:
        video = video_stream(container)
        check_headers(container, video, bounds)
        video.codec_context.options = {"max_pixels": str(bounds.max_pixels)}
        heard = audio_stream(container) if sound else None
        for stream in filter(None, (video, heard)):
            stream.codec_context.thread_count = 1
        rate = heard.codec_context.sample_rate if heard is not None else 0
        track = SoundTrack(rate, zero, bounds.max_seconds, receiver.sound) if rate else None
        reader = _Reader(bounds, receiver, video, track, picture=picture)
        for kind, frame in reader.decoded(container, heard if track else None):
            if kind == "video":
                reader.take_video(frame)
            else:
                reader.take_sound(frame)
        return reader.finish(container, heard)


class Collector:
    """Keeps a decoded clip in memory, within the memory bound."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds, self.bytes = bounds, 0
        self.images: list[np.ndarray] = []
        self.times: list[float] = []
        self.blocks: list[np.ndarray] = []

    def frame(self, image: np.ndarray, time: float) -> None:
        """Take a frame. Raises ``MediaError`` (too_large)."""
        self.bytes += image.nbytes
        if self.bytes > self.bounds.memory_bytes:
            raise MediaError(f"more than {self.bounds.memory_mb} MiB decoded", reason="too_large")
        self.images.append(image)
        self.times.append(time)

    def sound(self, samples: np.ndarray) -> None:
        """Take a block of sound."""
        self.blocks.append(samples)

    def clip(self, fps: Fraction) -> DecodedClip:
        """The whole of it."""
        return DecodedClip(
            frames=np.stack(self.images),
            frame_times=np.array(self.times, np.float64),
            fps=float(fps),
            waveform=np.concatenate(self.blocks) if self.blocks else None,
            sample_rate=SOUND_RATE if self.blocks else 0,
        )


def decode_here(path: Path, bounds: Bounds) -> DecodedClip:
    """Decode in this very process: for trusted files (our own samples and tests); raises as ``decode_into``, and
    too_large where the whole clip does not fit the memory bound."""
    collector = Collector(bounds)
    return collector.clip(decode_into(path, bounds, collector).fps)


class _Reader:
    """The state of one pass over a clip."""

    def __init__(
        self, bounds: Bounds, receiver: Receiver, video: Any, track: SoundTrack | None, *, picture: bool
    ) -> None:
        from av.video.reformatter import VideoReformatter

        self.picture = picture
        self.bounds, self.receiver, self.video, self.track = bounds, receiver, video, track
        self.tally = _Tally()
        self.step = float(1 / (stream_rate(video) or 25))
        self.size: tuple[int, int] | None = None
        self.turned = 0
        self.convert = VideoReformatter()

    def decoded(self, container: Any, heard: Any | None) -> Iterator[tuple[str, Any]]:
        """Frames of the streams wanted in file order; packets that do not decode are counted."""
        import av

        wanted = (self.video if self.picture else None, heard)
        packets = container.demux([stream for stream in wanted if stream is not None])
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                self.tally.bad += 1
                packet = None
            if packet is None:
                return
            of_video = packet.stream is self.video
            self.tally.packets += of_video
            self.tally.sounds += not of_video and packet.size > 0
            try:
                frames = packet.decode()
            except av.error.MemoryError:
                raise MemoryError from None
            except av.error.FFmpegError:
                self.tally.bad += of_video
                if not of_video:
                    self.lose_sound(packet)
                continue
            for frame in frames:
                yield ("video" if of_video else "audio"), frame

    def lose_sound(self, packet: Any) -> None:
        """Count a packet of sound that does not decode; its time stays empty."""
        self.tally.bad_sounds += 1
        if self.track is not None and packet.duration and packet.time_base:
            self.track.skip(float(packet.duration * packet.time_base))

    def take_sound(self, frame: Any) -> None:
        """Hand a frame of sound on to its track."""
        self.tally.heard += 1
        self.tally.bad_sounds += bool(frame.is_corrupt)
        if self.track is not None:
            self.track.take(frame)

    def take_video(self, frame: Any) -> None:
        """Bring a frame upright and hand it on, with a time after the last one's."""
        tally = self.tally
        tally.bad += bool(frame.is_corrupt)
        elapsed = self._elapsed(frame)
        if elapsed > self.bounds.max_seconds or tally.frames >= self.bounds.max_frames:
            raise MediaError(f"more than {tally.frames} frames, {elapsed:.0f} s: too long", reason="too_long")
        if self.size is None:  # a size or a turn that changes on the way must not change the picture's shape
            self.size = shown_size(frame.width, frame.height, self.video.sample_aspect_ratio, 0)
            self.turned = turns(frame)
        width, height = self.size
        check_pixels(width * height, self.bounds)
        check_working_set(width * height, self.bounds)
        image = self.convert.reformat(frame, width=width, height=height, format="rgb24", threads=1).to_ndarray()
        self.receiver.frame(np.ascontiguousarray(np.rot90(image, self.turned)), elapsed)
        tally.frames += 1
        tally.times.append(elapsed)

    def _elapsed(self, frame: Any) -> float:
        """Seconds since the first frame; a missing or repeated time moves on by one frame."""
        tally = self.tally
        time = frame.time if frame.pts is not None else (tally.first or 0.0) + tally.last + self.step
        if tally.first is None:
            tally.first, tally.last = time, 0.0
            return 0.0
        elapsed = time - tally.first
        if elapsed <= tally.last:
            elapsed = tally.last + min(self.step, 1e-3)
        tally.last = elapsed
        return elapsed

    def finish(self, container: Any, heard: Any | None) -> Tail:
        """Judge what was decoded, once all of the sound (of the stream ``heard``) is given."""
        tally, track = self.tally, self.track
        if self.picture and not tally.frames:
            raise MediaError("no frame could be decoded", reason="corrupt")
        if track is not None:
            track.finish()
        fps = true_rate(stream_rate(self.video), np.array(tally.times))
        if heard is not None and track is not None:
            self._check_sound(heard, track)
        if self.picture:
            self._check_damage()
            self._check_whole(container, tally.last + float(1 / fps), track)
        return Tail(fps=fps, has_sound=track is not None and track.begun)

    def _check_sound(self, heard: Any, track: SoundTrack) -> None:
        """Refuse a clip of whose sound more than a twentieth is damaged or missing: who is named there is not heard."""
        tally = self.tally
        if tally.bad_sounds > MAX_BAD * max(tally.sounds, 1):
            raise MediaError(f"{tally.bad_sounds} of {tally.sounds} parts of the sound are damaged", reason="bad_audio")
        declared = float((heard.duration or 0) * heard.time_base)
        found = track.next - float((heard.start_time or 0) * heard.time_base) if tally.heard else 0.0
        if found < declared * (1 - MAX_BAD) - 0.1:
            raise MediaError(f"the sound ends after {found:.1f} of {declared:.1f} s", reason="bad_audio")

    def _check_damage(self) -> None:
        """Refuse a clip of which more than a twentieth does not decode."""
        tally = self.tally
        if tally.bad > MAX_BAD * max(tally.packets, 1):
            raise MediaError(f"{tally.bad} of {tally.packets} frames are damaged", reason="corrupt")

    def _check_whole(self, container: Any, end: float, track: SoundTrack | None) -> None:
        """Refuse a clip of which more than a twentieth is missing: by the number of frames where the file has an index,
        for its last frame may be shown for long; else by the time. Where only the whole file has a duration and its
        sound is not read, the picture may rightly end before."""
        tally = self.tally
        if self.video.frames:
            if tally.packets < self.video.frames * (1 - MAX_BAD):
                raise MediaError(f"it ends after {tally.packets} of {self.video.frames} frames", reason="corrupt")
            return
        declared, found = duration(container, self.video), end
        if not self.video.duration:
            if track is None and audio_stream(container) is not None:
                return
            found = max(end, track.seconds if track else 0.0)
        if "matroska" in container.format.name:  # its duration is the time at which it ends
            found += max(0.0, tally.first or 0.0)
        if found < declared * (1 - MAX_BAD) - 0.1:
            raise MediaError(f"it ends after {found:.1f} of {declared:.1f} s", reason="corrupt")
