"""Raw pixels beside released ones, inside the masks: what a released file still shows of what it was to hide."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FLOOR = 4.0
PIXELS = 1024
RIM = 10  # pixels inside a mask's edge that an encoder's blocks and filters let the surroundings in
LEAST = 12  # pixels of a mask without its rim: fewer correlate by chance
PROBES = 12


@dataclass(frozen=True)
class _Patch:
    """The raw green channel inside one mask, thinned out: ``box`` (x0, y0, x1, y1, step) says where."""

    box: tuple[int, int, int, int, int]
    raw: np.ndarray


class PixelProbe:
    """Keeps raw patches of at most ``PROBES`` frames, evenly spread over those it is shown, until the released file can
    be read. Memory: about a kilobyte a mask and frame."""

    def __init__(self) -> None:
        self._step = 1
        self._shown = 0
        self._kept: dict[int, tuple[_Patch, ...]] = {}

    def see(self, number: int, raw: np.ndarray, regions: np.ndarray) -> None:
        """Frame ``number`` before masking, uint8 [H, W, 3], and its masks int [N, 4]; without any it does not count."""
        patches = _patches(raw, regions)
        if not patches:
            return
        if self._shown % self._step == 0:
            self._kept[number] = patches
        self._shown += 1
        if len(self._kept) > PROBES:
            self._kept = dict(list(self._kept.items())[::2])
            self._step *= 2

    def against(self, shown: Callable[[int], np.ndarray]) -> float | None:
        """The highest correlation of any mask with the released frame that ``shown`` gives for a number (uint8
        [H, W, 3], read back out of the file); None where nothing large enough was masked."""
        found = []
        for number, patches in self._kept.items():
            frame = shown(number)
            for patch in patches:
                x0, y0, x1, y1, step = patch.box
                found.append(correlation(patch.raw, frame[y0:y1:step, x0:x1:step, 1]))
        return max(found, default=None)


def _patches(raw: np.ndarray, regions: np.ndarray) -> tuple[_Patch, ...]:
    """One a mask, less its rim; a mask that is hardly more than a rim has none."""
    found = []
    for left, top, right, bottom in np.asarray(regions, dtype=np.int64).tolist():
        x0, y0, x1, y1 = left + RIM, top + RIM, right - RIM, bottom - RIM
        if min(x1 - x0, y1 - y0) >= LEAST:
            step = thinned((x1 - x0) * (y1 - y0))
            found.append(_Patch((x0, y0, x1, y1, step), raw[y0:y1:step, x0:x1:step, 1].copy()))
    return tuple(found)


def correlation(raw: np.ndarray, released: np.ndarray) -> float:
    """Absolute Pearson correlation of two grey patches [H, W], over at most about ``PIXELS`` of their pixels: 0..1.

    Standard deviations count as at least ``FLOOR`` grey levels: an opaque fill gives 0 instead of 0 / 0, and the faint
    noise that an encoder leaves in one cannot correlate by chance (real footage, encoded, masks of 32 px and more: .07
    at most with half this floor).
    """
    step = thinned(raw.size)
    first, second = (patch[::step, ::step].astype(np.float64).ravel() for patch in (raw, released))
    if first.size < 2:
        return 0.0
    first, second = first - first.mean(), second - second.mean()
    scale = max(float(first.std()), FLOOR) * max(float(second.std()), FLOOR)
    return min(1.0, abs(float((first * second).mean())) / scale)


def thinned(pixels: int) -> int:
    """Every how manieth row and column leaves about ``PIXELS`` of so many."""
    return max(1, int(np.sqrt(pixels / PIXELS)))
