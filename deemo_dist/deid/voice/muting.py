"""Stretches of a sound that become exact silence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deemo_dist.media import SOUND_RATE, Sound

FADE = 0.005  # seconds, at the edges of what is muted

Seconds = tuple[float, float]


@dataclass(frozen=True)
class Muted:
    """``sound`` at 16 kHz, read in parts, exactly 0 in every one of ``mutes``, faded to over 5 ms outside it."""

    sound: Sound
    mutes: Sequence[Seconds]

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.sound)

    def __getitem__(self, part: slice, /) -> np.ndarray:
        """The samples [start, stop) as they are after muting."""
        start, stop, _ = part.indices(len(self))
        made = np.array(self.sound[start:stop])
        hush(made, self.mutes, at=start, length=len(self), fade=FADE)
        return made


def hush(block: np.ndarray, mutes: Sequence[Seconds], *, at: int, length: int, fade: float = 0.0) -> None:
    """Make ``block``, which begins at sample ``at`` of a sound of ``length`` samples at 16 kHz, exactly 0 in every span
    of ``mutes``, faded to over ``fade`` seconds outside it: in place."""
    edge = round(fade * SOUND_RATE)
    for start, end in mutes:
        low, high = max(0, int(np.floor(start * SOUND_RATE))), min(length, int(np.ceil(end * SOUND_RATE)))
        before, after = max(0, low - edge), min(length, high + edge)
        if after <= at or before >= at + len(block):
            continue
        _scale(block, before - at, np.linspace(1, 0, low - before, dtype=block.dtype))
        _scale(block, high - at, np.linspace(0, 1, max(0, after - high), dtype=block.dtype))
        block[max(0, low - at) : max(0, high - at)] = 0


def _scale(block: np.ndarray, start: int, ramp: np.ndarray) -> None:
    """Multiply what of ``block`` lies under ``ramp``, which begins at its sample ``start`` (it may be outside)."""
    first, last = max(0, start), min(len(block), start + len(ramp))
    if first < last:
        block[first:last] *= ramp[first - start : last - start]
