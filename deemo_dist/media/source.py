"""Clips that can be looked through more than once: streamed out of the sandbox, or held in memory."""

from collections.abc import Callable, Iterator

import numpy as np

from deemo_dist.errors import MediaError
from deemo_dist.media.container import true_rate
from deemo_dist.media.decode import Tail
from deemo_dist.media.soundtrack import SOUND_RATE
from deemo_dist.media.tape import KEEP_SOUND, Sound, Spool
from deemo_dist.media.types import Bounds, DecodedClip, VideoInfo, rational_rate

KEEP_BYTES = 32 * 2**20
Item = tuple[float, np.ndarray] | np.ndarray | Tail
Frames = Iterator[tuple[int, float, np.ndarray]]


class SandboxClip:
    """A ``ClipSource`` whose every pass asks the sandbox: made by ``Sandbox.open``.

    The first pass takes the sound along (16 kHz) and keeps it while it takes at most ``keep_sound`` bytes, and the
    frames while they take at most ``keep_bytes``; a longer sound is decoded again, by itself, where it is read. Every
    pass must give the frames and the sound of the first one. ``stream``: a pass with or without (pictures, sound).
    """

    def __init__(
        self,
        stream: Callable[[bool, bool], Iterator[Item]],
        info: VideoInfo,
        bounds: Bounds,
        *,
        keep_bytes: int = KEEP_BYTES,
        keep_sound: int = KEEP_SOUND,
    ) -> None:
        self.info = info
        self._stream, self._bounds = stream, bounds
        self._keep_bytes, self._keep_sound = keep_bytes, keep_sound
        self._kept: list[tuple[float, np.ndarray]] | None = None
        self._times: list[float] | None = None
        self._sound: Spool | None = None

    def frames(self) -> Frames:
        """One pass; raises ``MediaError`` as ``Sandbox.open`` does, and unstable where it differs from the first."""
        if self._kept is not None:
            yield from ((number, when, image) for number, (when, image) in enumerate(self._kept))
        elif self._times is None:
            yield from self._first_pass()
        else:
            yield from self._later_pass(self._times)

    def sound(self) -> tuple[Sound, int] | None:
        """The sound, decoded with a pass of its own where there was none yet. Reading a long one is a pass too."""
        if self._times is None:
            for _ in self.frames():
                pass
        sound = self._sound.sound(self._sound_again) if self._sound is not None else None
        return (sound, SOUND_RATE) if sound is not None else None

    def _sound_again(self) -> Iterator[np.ndarray]:
        return (item for item in self._stream(False, True) if isinstance(item, np.ndarray))

    def _first_pass(self) -> Frames:
        spool, kept, taken = Spool(self._keep_sound), list[tuple[float, np.ndarray]](), 0
        times: list[float] = []
        for item in self._stream(True, True):
            if isinstance(item, tuple):
                when, image = item
                taken += image.nbytes
                if taken <= self._keep_bytes:
                    kept.append(item)
                else:
                    kept.clear()
                times.append(when)
                yield len(times) - 1, when, image
            elif isinstance(item, np.ndarray):
                spool.add(item)
                if spool.seconds > 2 * self._bounds.max_seconds + 60 or spool.blocks > spool.seconds + 1:
                    raise MediaError("the decoder sent more sound than allowed", reason="too_long")
        self._kept = kept if taken <= self._keep_bytes else None
        self._times, self._sound = times, spool

    def _later_pass(self, times: list[float]) -> Frames:
        number = 0
        for item in self._stream(True, False):
            if isinstance(item, tuple):
                when, image = item
                if number >= len(times) or when != times[number]:
                    raise MediaError("it decodes to other frames the second time", reason="unstable")
                yield number, when, image
                number += 1
        if number != len(times):
            raise MediaError("it decodes to fewer frames the second time", reason="unstable")


class MemoryClip:
    """A ``ClipSource`` over a decoded clip that is held in memory (our own samples, and tests)."""

    def __init__(self, clip: DecodedClip) -> None:
        """Raises ``ValueError`` for a clip without frames [T, H, W, 3], one time each, or without a rate."""
        if clip.frames is None or clip.frames.ndim != 4 or not len(clip.frames) == len(clip.frame_times) > 0:
            raise ValueError("a clip needs frames [T, H, W, 3] and as many times")
        self._clip, self._frames = clip, clip.frames
        self.info = _info_of(clip, clip.frames)

    def frames(self) -> Frames:
        """The frames as they are."""
        for number, (when, image) in enumerate(zip(self._clip.frame_times, self._frames, strict=True)):
            yield number, float(when), image

    def sound(self) -> tuple[np.ndarray, int] | None:
        """The sound as it is: an array."""
        return None if self._clip.waveform is None else (self._clip.waveform, self._clip.sample_rate)


def _info_of(clip: DecodedClip, frames: np.ndarray) -> VideoInfo:
    fps = true_rate(rational_rate(clip.fps), clip.frame_times)
    seconds = 0.0 if clip.waveform is None else len(clip.waveform) / clip.sample_rate
    return VideoInfo(
        width=frames.shape[2],
        height=frames.shape[1],
        fps=fps,
        frames=len(frames),
        seconds=float(clip.frame_times[-1] - clip.frame_times[0]) + float(1 / fps),
        has_audio=clip.waveform is not None,
        audio_seconds=seconds,
        sample_rate=0 if clip.waveform is None else clip.sample_rate,
        rotation=0,
        codec="raw",
        sound_end=seconds,
    )
