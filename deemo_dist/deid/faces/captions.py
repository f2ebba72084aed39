"""Burnt-in text (name plates, lower thirds, score boards): found now and then, masked from look to look.

The detector is PP-OCR's (DB: Liao et al. 2020, arXiv 1911.08947; weights of rapidocr-onnxruntime 1.4.4). It says where
text is; nobody reads it.
"""

from typing import Protocol

import numpy as np

from deemo_dist.config import PolicyConfig
from deemo_dist.deid import runtime
from deemo_dist.deid.faces.cuts import CutWatch
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


class CaptionScan:
    """Finds the burnt-in text of one clip: looks every ``captions_seconds``, at cuts and at the last frame.

    What is seen in a look is masked from the look before to the look after. Frames given to :meth:`see` are not to be
    changed afterwards.
    """

    def __init__(self, policy: PolicyConfig, detector: TextDetector) -> None:
        self._detect = detector
        self._seconds = policy.captions_seconds
        self._wanted = policy.captions == "mask"
        self._cut = CutWatch()
        self._found: dict[int, np.ndarray] = {}
        self._looked = -np.inf
        self._last: tuple[int, np.ndarray] | None = None

    def see(self, number: int, time: float, frame: np.ndarray) -> None:
        """Take the next frame (uint8 [H, W, 3] RGB) at ``time`` seconds."""
        before, self._last = self._last, (number, frame)
        if not self._wanted:
            return
        cut = self._cut(frame)
        if cut and before is not None and before[0] not in self._found:
            self._found[before[0]] = self._detect(before[1])
        if cut or time - self._looked >= self._seconds - 1e-6:
            self._looked = time
            self._found[number] = self._detect(frame)

    def finish(self) -> list[np.ndarray]:
        """Boxes float64 [N, 4] to mask, by frame."""
        if self._last is None:
            return []
        number, frame = self._last
        if self._wanted and number not in self._found:
            self._found[number] = self._detect(frame)
        self._last = None
        return held(self._found, number + 1)


def held(found: dict[int, np.ndarray], frames: int) -> list[np.ndarray]:
    """Each look's boxes, from the frame after the look before to the frame before the look after, and on both."""
    boxes: list[list[np.ndarray]] = [[] for _ in range(frames)]
    looks = sorted(found)
    for place, number in enumerate(looks):
        start = looks[place - 1] if place else 0
        stop = looks[place + 1] if place + 1 < len(looks) else frames - 1
        if len(found[number]):
            for frame in range(start, stop + 1):
                boxes[frame].append(found[number])
    return [np.concatenate(each) if each else np.zeros((0, 4)) for each in boxes]
