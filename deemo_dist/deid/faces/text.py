"""Where text is in a picture. Nobody reads it.

The detector is PP-OCR's (DB: Liao et al. 2020, arXiv 1911.08947; weights of rapidocr-onnxruntime 1.4.4).
"""

from typing import Protocol

import numpy as np

from deemo_dist.deid import runtime
from deemo_dist.deid.light import lit

STRIDE = 32
LONGEST, SHORTEST = 736, 320
TEXT, SURE = 0.3, 0.5
UNCLIP = 2.2  # the network draws a text's core; readers of text grow it by 1.6, a mask by more
LEAST = 3  # pixels of a core, in the copy


class TextDetector(Protocol):
    """Anything that finds text: uint8 [H, W, 3] RGB -> boxes float64 [N, 4] in pixels."""

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Texts of one frame."""
        ...


class PaddleText:
    """PP-OCRv4's text detector on a copy whose longer side is ``SHORTEST`` to ``LONGEST`` pixels."""

    name = "PP-OCRv4 detection (rapidocr-onnxruntime 1.4.4)"

    def __init__(self) -> None:
        self._network = runtime.onnx("text-detector")

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Texts of one frame, in its pixels."""
        import cv2

        height, width = frame.shape[:2]
        longer = max(height, width)
        scale = float(np.clip(longer, SHORTEST, LONGEST)) / longer
        size = tuple(max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (width, height))
        copy = lit(cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))
        blob = (copy[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255.0 - 0.5) / 0.5
        heat = self._network(blob)[0][0, 0]
        return text_boxes(heat) * np.array([width / size[0], height / size[1]] * 2)


def text_boxes(heat: np.ndarray) -> np.ndarray:
    """Boxes float64 [N, 4] of the texts in a probability map float32 [h, w], in its pixels: upright boxes around its
    connected parts, grown by as much as DB shrinks them."""
    import cv2

    mask = cv2.dilate((heat > TEXT).astype(np.uint8), np.ones((2, 2), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    boxes = []
    for part in range(1, count):
        left, top, wide, high, _ = (int(value) for value in stats[part])
        inside = heat[top : top + high, left : left + wide]
        if min(wide, high) < LEAST or float(inside[labels[top : top + high, left : left + wide] == part].mean()) < SURE:
            continue
        grow = UNCLIP * wide * high / (2 * (wide + high))
        boxes.append((left - grow, top - grow, left + wide + grow, top + high + grow))
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)
