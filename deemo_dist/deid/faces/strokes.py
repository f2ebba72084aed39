"""Strokes: where a picture is much brighter or darker than right beside, as text is. Cheap enough to be taken often.

Burnt-in text stands still while the picture behind it moves, and its strokes with it: those that come and stay tell
when it is worth while to look for text, and where.
"""

import numpy as np

STEEP = 24  # grey levels from one pixel to the next
BRIGHTER, DARKER = 1, 2
CELL = 32  # pixels


def strokes(grey: np.ndarray) -> np.ndarray:
    """``BRIGHTER`` or ``DARKER`` where a pixel is so beside the one to its left, else 0: uint8 [H, W] of a grey picture
    uint8 [H, W]."""
    import cv2

    found = np.zeros_like(grey)
    ahead, behind = grey[:, 1:], grey[:, :-1]
    found[:, 1:] = (cv2.subtract(ahead, behind) >= STEEP) * np.uint8(BRIGHTER)
    found[:, 1:] |= (cv2.subtract(behind, ahead) >= STEEP) * np.uint8(DARKER)
    return found


def steady(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The strokes that two maps share: uint8 [H, W]."""
    return second * (first == second)


def fresh(now: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Where ``now`` has strokes that ``known`` has not, by cell: int64 [rows, columns] pixels in cells of ``CELL``."""
    return by_cell((now > 0) & (now != known))


def by_cell(marks: np.ndarray) -> np.ndarray:
    """How many of ``marks`` (bool [H, W]) are in each cell; cells at the right and lower edge may be smaller."""
    rows = np.add.reduceat(marks, np.arange(0, marks.shape[0], CELL), axis=0, dtype=np.int64)
    return np.asarray(np.add.reduceat(rows, np.arange(0, marks.shape[1], CELL), axis=1))
