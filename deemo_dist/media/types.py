"""What the media room hands out: a clip's facts, its decoded content, and the bounds within which it is decoded."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from deemo_dist.config import PolicyConfig  # a type only: the sandbox child starts faster without it
    from deemo_dist.media.tape import Sound


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """A video's facts as a viewer sees it: ``width`` and ``height`` in pixels after rotation and square pixels.

    ``fps`` is the exact average rate, ``frames`` the number of frames, ``seconds`` the video's duration,
    ``audio_seconds`` 0.0 without sound, ``rotation`` the clockwise quarter turns (0, 90, 180, 270) already applied.
    ``sound_end``: seconds from the first frame at which the last packet of sound ends by the container's own clock
    (0.0: it does not say, or there is none), ``sound_step`` how long a packet is at most.
    """

    width: int
    height: int
    fps: Fraction
    frames: int
    seconds: float
    has_audio: bool
    audio_seconds: float
    sample_rate: int
    rotation: int
    codec: str
    sound_end: float = 0.0
    sound_step: float = 0.0


@dataclass(frozen=True, kw_only=True)
class DecodedClip:
    """A decoded clip, on one clock whose zero is the first video frame.

    ``frames``: uint8 [T, H, W, 3] RGB as shown to a viewer, None if they were not asked for; ``frame_times``: float64
    [T] seconds, strictly increasing, true also for variable frame rates; ``fps``: average frames per second;
    ``waveform``: float32 [N] mono in [-1, 1] at ``sample_rate`` Hz, sample 0 at time 0; None without sound.
    """

    frames: np.ndarray | None
    frame_times: np.ndarray
    fps: float
    waveform: np.ndarray | None
    sample_rate: int


class ClipSource(Protocol):
    """A clip that can be looked through more than once, without being held whole."""

    @property
    def info(self) -> VideoInfo:
        """The clip's facts as a viewer sees it, by headers and packets."""

    def frames(self) -> Iterator[tuple[int, float, np.ndarray]]:
        """(number from 0, seconds from the first frame, uint8 [H, W, 3] RGB), in order, the same at every pass.

        A frame is never changed afterwards by the source, and must not be changed by whoever takes it.
        """

    def sound(self) -> "tuple[Sound, int] | None":
        """Mono samples in [-1, 1] to be read in parts, and their rate in Hz, sample 0 with the first frame; None
        without sound. One pass at a time, of frames or of sound."""


class FrameSink(Protocol):
    """Where released frames go: ``begin``, ``write`` for each, ``close`` at the end. A ``begin`` in between throws away
    what was written so far."""

    def begin(self, *, width: int, height: int, fps: Fraction, times: np.ndarray) -> None:
        """What will come: frames of this size, at these ``times`` (float64 [T] seconds), ``fps`` on average."""

    def write(self, frame: np.ndarray, time: float) -> None:
        """One uint8 [H, W, 3] RGB frame, shown from ``time`` on."""

    def close(self) -> VideoInfo:
        """Everything is written; the facts of what was written, as a reader finds them."""

    def shown(self, number: int) -> np.ndarray:
        """Frame ``number`` of what was written, read back: uint8 [H, W, 3], at least as large as it was."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What one clip may cost: pixels a frame, frames, media seconds, CPU seconds a pass, and memory in MiB.

    ``memory_mb`` bounds the decoder's address space beyond its start, and a clip that is asked for as a whole; a clip
    that is streamed takes a few frames.
    """

    max_pixels: int = 3840 * 2160
    max_frames: int = 20_000
    max_seconds: float = 600.0
    cpu_seconds: float = 600.0
    memory_mb: int = 4096

    @classmethod
    def of(cls, policy: "PolicyConfig") -> "Bounds":
        """The bounds a policy sets."""
        return cls(
            max_pixels=policy.max_pixels,
            max_frames=policy.max_frames,
            max_seconds=policy.max_seconds,
            cpu_seconds=policy.cpu_seconds,
            memory_mb=policy.memory_mb,
        )

    @property
    def memory_bytes(self) -> int:
        """The memory bound in bytes."""
        return self.memory_mb * 2**20


def rational_rate(fps: float | Fraction) -> Fraction:
    """The exact rate meant by a float: n or n*1000/1001 where that is within 1e-5, else a fraction of small terms.

    Raises ``ValueError`` unless 0 < fps <= 1000.
    """
    if not 0 < fps <= 1000:
        raise ValueError(f"a frame rate of {fps} makes no sense")
    if isinstance(fps, Fraction):
        return fps
    for base in (Fraction(1), Fraction(1000, 1001)):
        candidate = round(fps / float(base)) * base
        if candidate and abs(float(candidate) - fps) < 1e-5 * fps:
            return candidate
    return Fraction(fps).limit_denominator(1001)


def plain_info(info: VideoInfo) -> dict[str, Any]:
    """``info`` as JSON can say it: the rate as [numerator, denominator]."""
    return {**info.__dict__, "fps": [info.fps.numerator, info.fps.denominator]}


def info_from_plain(row: dict[str, Any]) -> VideoInfo:
    """The inverse of ``plain_info``."""
    numerator, denominator = row["fps"]
    return VideoInfo(**{**row, "fps": Fraction(numerator, denominator)})
