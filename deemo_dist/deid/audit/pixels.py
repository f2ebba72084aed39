"""Raw pixels beside released ones, inside the masks: what a released file still shows of what it was to hide.

In a small mask so few pixels are free of an encoder's rim that they correlate by chance: there it is asked how much of
its middle shows something else than the fill. Measured on real footage, encoded at rest and in motion: at most .07 of a
filled mask of 16 px, nothing of one of 20 px and more; smaller ones cannot be told.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from deemo_dist.deid.audit.coverage import filled

FLOOR = 4.0
PIXELS = 1024
RIM = 10  # pixels inside a mask's edge that an encoder's blocks and filters let the surroundings in
LEAST = 12  # pixels of a mask without its rim: fewer correlate by chance
SMALL = 16  # pixels of a mask of whose middle can be told whether it is filled
MIDDLE = 4  # a part of so many of a small mask's side is its rim
PROBES = 12

_Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Patch:
    """The raw green channel inside one mask, thinned out: ``box`` (x0, y0, x1, y1, step) says where."""

    box: tuple[int, int, int, int, int]
    raw: np.ndarray


@dataclass(frozen=True)
class _Kept:
    """Of one frame: patches of its large masks, and the middles (x0, y0, x1, y1) of its small ones."""

    patches: tuple[_Patch, ...]
    middles: tuple[_Box, ...]


class PixelProbe:
    """Keeps raw patches of at most ``PROBES`` frames, evenly spread over those it is shown, until the released file can
    be read. Memory: about a kilobyte a mask and frame."""

    def __init__(self) -> None:
        self._step = 1
        self._shown = 0
        self._kept: dict[int, _Kept] = {}

    def see(self, number: int, raw: np.ndarray, regions: np.ndarray) -> None:
        """Frame ``number`` before masking, uint8 [H, W, 3], and its masks int [N, 4]; without any it does not count."""
        kept = _Kept(_patches(raw, regions), _middles(regions))
        if not (kept.patches or kept.middles):
            return
        if self._shown % self._step == 0:
            self._kept[number] = kept
        self._shown += 1
        if len(self._kept) > PROBES:
            self._kept = dict(list(self._kept.items())[::2])
            self._step *= 2

    def against(self, shown: Callable[[int], np.ndarray]) -> float | None:
        """The highest correlation of any mask with the released frame that ``shown`` gives for a number (uint8
        [H, W, 3], read back out of the file), or share of a small one's middle that is not filled, if that is higher;
        None where nothing of 16 pixels a side and more was masked."""
        found = [value for number, kept in self._kept.items() for value in _shares(kept, shown(number))]
        return max(found, default=None)


def _shares(kept: _Kept, frame: np.ndarray) -> list[float]:
    """What ``frame`` shows of each mask: 0..1."""
    found = [1.0 - float(filled(frame[y0:y1, x0:x1]).mean()) for x0, y0, x1, y1 in kept.middles]
    for patch in kept.patches:
        x0, y0, x1, y1, step = patch.box
        found.append(correlation(patch.raw, frame[y0:y1:step, x0:x1:step, 1]))
    return found


def _patches(raw: np.ndarray, regions: np.ndarray) -> tuple[_Patch, ...]:
    """One a large mask, less its rim."""
    found = []
    for left, top, right, bottom in _boxes(regions, least=2 * RIM + LEAST):
        x0, y0, x1, y1 = left + RIM, top + RIM, right - RIM, bottom - RIM
        step = thinned((x1 - x0) * (y1 - y0))
        found.append(_Patch((x0, y0, x1, y1, step), raw[y0:y1:step, x0:x1:step, 1].copy()))
    return tuple(found)


def _middles(regions: np.ndarray) -> tuple[_Box, ...]:
    """One a mask that is too small for a patch, less a part of either side, or the rim of a large one."""
    found = []
    for left, top, right, bottom in _boxes(regions, least=SMALL, below=2 * RIM + LEAST):
        x, y = (min(RIM, side // MIDDLE) for side in (right - left, bottom - top))
        found.append((left + x, top + y, right - x, bottom - y))
    return tuple(found)


def _boxes(regions: np.ndarray, *, least: int, below: float = np.inf) -> Sequence[_Box]:
    """Those of ``regions`` int [N, 4] whose shorter side has ``least`` pixels and is ``below`` so many."""
    every = np.asarray(regions, dtype=np.int64).reshape(-1, 4)
    sides = (every[:, 2:] - every[:, :2]).min(axis=1)
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in every[(sides >= least) & (sides < below)].tolist()]


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
