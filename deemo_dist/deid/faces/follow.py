"""Text that moves (credits, crawls): followed through small grey copies of the frames between two looks, and masked
over all of its way."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from deemo_dist.deid import geometry

REACH = 24  # pixels of a copy, beyond where it would be at the speed of the step before
ALIKE = 0.6  # correlation
FLAT = 4.0  # grey levels of standard deviation: nothing to tell places apart by
STILL = 1.5  # pixels of a copy

Step = tuple[int, np.ndarray]
"""A frame's number and its grey copy uint8 [h, w]; or a box float64 [4] in one."""


@dataclass(frozen=True)
class Sweep:
    """``box`` float64 [4] in pixels of a copy covers text that moves from frame ``start`` to frame ``end``."""

    start: int
    end: int
    box: np.ndarray


def sweeps(at: Step, boxes: np.ndarray, others: Sequence[Step]) -> list[Sweep]:
    """What texts at ``boxes`` float64 [N, 4] of one copy cover over the ``others``, in order from it; nothing of those
    that stand still."""
    return [each for box in boxes for each in _swept(list(_way(at, box, others)))]


def _swept(way: Sequence[Step]) -> Iterable[Sweep]:
    """From each step to the next both boxes in one, if there is any movement."""
    if all(np.abs(box - way[0][1]).max() < STILL for _, box in way):
        return
    for (number, box), (after, moved) in itertools.pairwise(way):
        yield Sweep(min(number, after), max(number, after), geometry.union(box, moved))


def _way(at: Step, box: np.ndarray, others: Sequence[Step]) -> Iterable[Step]:
    """Where the text is in each of the copies; where it is not found any more it goes on as it went."""
    number, grey = at
    yield number, box
    left, top, right, bottom = np.clip(box, 0, [*grey.shape[::-1]] * 2).round().astype(int)
    text = grey[top:bottom, left:right]
    if min(text.shape, default=0) < 2 or float(text.std()) < FLAT:
        return
    corner, speed, lost = np.array([left, top]), np.zeros(2, dtype=int), False
    for after, copy in others:
        found = None if lost else _found(copy, text, corner + speed)
        lost = found is None
        if found is not None:
            speed = found - corner
        elif np.abs(speed).max() < STILL:
            return
        corner = corner + speed
        yield after, box + np.tile(corner - [left, top], 2)


def _found(copy: np.ndarray, text: np.ndarray, near: np.ndarray) -> np.ndarray | None:
    """The corner (x, y) of ``text`` in a copy, ``near`` where it is looked for; None where nothing is like it."""
    import cv2

    low = np.clip(near - REACH, 0, None)
    high = np.minimum(near + REACH + text.shape[::-1], copy.shape[::-1])
    if (high - low < text.shape[::-1]).any():
        return None
    likeness = cv2.matchTemplate(copy[low[1] : high[1], low[0] : high[0]], text, cv2.TM_CCOEFF_NORMED)
    _, best, _, place = cv2.minMaxLoc(likeness)
    return low + np.array(place) if best >= ALIKE else None
