"""Pictures in bad light, brightened for the networks: who looks at a dark picture long enough can do the same.

Detectors were trained on what cameras expose well. On real footage at a fiftieth of its brightness they see nobody,
while every face can be made out once it is multiplied. So each part of a picture that is dark all around is brightened
to where detectors see as well as ever; parts that are light enough stay as they are, bit for bit.
"""

import numpy as np

CELLS = 32  # a picture's brightness is taken on so many cells a side
AROUND = 9  # cells: a part is as bright as the brightest cell about it
SOFT = 2.0  # cells over which the gain changes
ENOUGH = 64.0  # grey levels of the brightest channel: at half of it CenterFace still misses nobody
BLACK = 1.0  # grey levels: nothing is to be seen there
STRIP = 2**17  # values multiplied at once: a large picture needs no copy of floats
DARKEST = 8  # grey levels of the brightest channel
SPECKS = 0.01  # of a picture, that may be brighter


def is_dark(picture: np.ndarray) -> bool:
    """Whether ``picture`` (uint8 [H, W, 3]) is so dark that its noise may hide a face from networks, but not from
    somebody who averages frames. Seen on a coarse grid of points: too cheap to skip a frame."""
    height, width = picture.shape[:2]
    points = picture[:: max(1, height // CELLS), :: max(1, width // CELLS)].max(axis=2)
    return bool((points >= DARKEST).mean() <= SPECKS)


def lit(picture: np.ndarray) -> np.ndarray:
    """``picture`` (uint8 [H, W, 3]) with its dark parts brightened; itself where it has none."""
    import cv2

    height, width = picture.shape[:2]
    cells = cv2.resize(picture, (CELLS, CELLS), interpolation=cv2.INTER_AREA).max(axis=2).astype(np.float32)
    level = cv2.dilate(cells, np.ones((AROUND, AROUND), np.uint8))
    dark = (level > BLACK) & (level < ENOUGH)
    if not dark.any():
        return picture
    wanted = np.where(dark, ENOUGH / np.maximum(level, BLACK), 1.0).astype(np.float32)
    gain = cv2.resize(cv2.GaussianBlur(wanted, (0, 0), SOFT), (width, height))
    bright = np.empty_like(picture)
    rows = max(1, STRIP // (3 * width))
    for top in range(0, height, rows):
        part = picture[top : top + rows] * gain[top : top + rows, :, None]
        bright[top : top + rows] = np.clip(part + 0.5, 0, 255)
    return bright
