"""Quiet speech made loud enough to be heard: the detector of voices hears nothing below some level, while whoever has
the released sound can amplify it.

A slow gain, of at most 60 dB: each second is judged by its louder parts and those of the seconds beside it. Where one
of them is loud enough the samples stay what they are, bit for bit; a click makes none loud.
"""

import numpy as np

from deemo_dist.media import Sound

BLOCK = 16_000  # samples that are judged together: a second
FRAME = 500
LOUDER = 0.9  # of a second's frames are quieter than its level
ENOUGH = 0.004  # root mean square; the detector hears speech down to a quarter of it
MOST = 1024.0


class Lifted:
    """A ``Sound`` (16 kHz) whose quiet parts are louder. Read it in parts, ascending at best: it looks two seconds
    ahead and remembers the levels of what it saw."""

    def __init__(self, sound: Sound) -> None:
        self._sound = sound
        self._levels: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._sound)

    def __getitem__(self, part: slice, /) -> np.ndarray:
        """The samples [start, stop): float32 within [-1, 1]."""
        start, stop, _ = part.indices(len(self))
        samples = np.asarray(self._sound[start:stop], np.float32)
        if not len(samples):
            return samples
        first, last = start // BLOCK - 1, (stop - 1) // BLOCK + 1
        gains = np.array([self._gain(number) for number in range(first, last + 1)])
        if np.all(gains == 1.0):
            return samples
        centres = (np.arange(first, last + 1) + 0.5) * BLOCK
        gain = np.interp(np.arange(start, stop), centres, gains).astype(np.float32)
        return np.where(gain == 1.0, samples, np.clip(samples * gain, -1.0, 1.0))

    def _gain(self, number: int) -> float:
        """Of a second: what its loudest neighbour allows."""
        level = max(self._level(near) for near in (number - 1, number, number + 1))
        return float(np.clip(ENOUGH / max(level, ENOUGH / MOST), 1.0, MOST))

    def _level(self, number: int) -> float:
        """Root mean square of a second's louder frames, 0 where there is none."""
        if number < 0 or number * BLOCK >= len(self):
            return 0.0
        if number not in self._levels:
            samples = np.asarray(self._sound[number * BLOCK : (number + 1) * BLOCK], np.float64)
            frames = np.pad(samples, (0, -len(samples) % FRAME)).reshape(-1, FRAME)
            loud = np.sort(np.sqrt(np.mean(np.square(frames), axis=1)))
            self._levels[number] = float(loud[int(LOUDER * len(loud))])
        return self._levels[number]
