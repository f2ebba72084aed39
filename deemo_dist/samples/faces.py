"""Photographs of faces for the figures' heads, cut at run time out of pinned footage (never stored by the project)."""

from pathlib import Path

import numpy as np

from deemo_dist.media import decode_frames
from deemo_dist.samples.people import FACES
from deemo_dist.weights import fetch

# footage, frame number, and the head's ellipse in pixels: centre x, y, radius x, y
CROPS = (
    ("clip-single-face", 0, 297.0, 168.0, 85.0, 140.0),
    ("clip-single-face", 36, 294.0, 160.0, 87.0, 142.0),
    ("clip-single-face", 71, 298.0, 162.0, 86.0, 140.0),
    ("clip-pexels", 0, 433.0, 182.0, 142.0, 182.0),
    ("clip-pexels", 283, 442.0, 158.0, 146.0, 186.0),
    ("clip-pexels", 330, 449.0, 178.0, 146.0, 186.0),
    ("clip-pexels", 378, 476.0, 178.0, 142.0, 182.0),
)
HEAD = (100, 140)


def face_crops() -> list[np.ndarray]:
    """The heads as float32 [140, 100, 4] RGB 0..255 and soft alpha 0..1. Raises ``WeightsError``.

    The footage is read outside the sandbox: its digest is pinned.
    """
    assert len(CROPS) == FACES
    pictures = []
    for name, number, x, y, wide, high in CROPS:
        frame = decode_frames(Path(fetch(name)).read_bytes(), np.array([number]))[0]
        pictures.append(_cut(frame, x, y, wide, high))
    return pictures


def _cut(frame: np.ndarray, x: float, y: float, wide: float, high: float) -> np.ndarray:
    """The ellipse about (x, y), scaled to ``HEAD``, with an alpha that fades at its rim."""
    import cv2

    width, height = HEAD
    scale = np.array([[width / (2 * wide), 0, width / 2 - x * width / (2 * wide)], [0, height / (2 * high), 0]])
    scale[1, 2] = height / 2 - y * height / (2 * high)
    smooth = cv2.GaussianBlur(frame, (0, 0), wide / width / 2 + 0.1)
    picture = cv2.warpAffine(smooth, scale, HEAD, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    radius = np.hypot((columns - width / 2 + 0.5) / (width / 2), (rows - height / 2 + 0.5) / (height / 2))
    alpha = np.clip((1.0 - radius) / 0.13, 0, 1)
    return np.dstack([picture.astype(np.float32), alpha]).astype(np.float32)
