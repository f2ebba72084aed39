"""Face detectors of the audit alone: BlazeFace's full range beside its short range, so that small faces are seen too.

Full range: weights of MediaPipe 0.10.14 (Bazarevsky et al. 2019, arXiv 1907.05047, a later model card: faces to 5 m).
"""

from collections.abc import Sequence

import numpy as np

from deemo_dist.deid import geometry, runtime
from deemo_dist.deid.faces.detectors import BlazeFace, FaceDetector

SAME = 0.3


class FullRange:
    """BlazeFace full-range on a 192 x 192 letterboxed copy: faces from about 12 px of the copy.

    Measured: real faces down to a sixth of their size .72 to .97, hands of drawn figures to .60; hence the threshold.
    """

    name = "BlazeFace full-range (MediaPipe 0.10.14)"
    side = 192

    def __init__(self, *, threshold: float = 0.65) -> None:
        self._network = runtime.tflite("blazeface-full")
        cells = self.side // 4
        places = (np.arange(cells) + 0.5) / cells
        self._anchors = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
        self._threshold = threshold

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Faces of one uint8 frame [H, W, 3]: boxes float64 [N, 4] in its pixels, scores float64 [N]."""
        square, scale, pad_x, pad_y = runtime.letterbox(frame, self.side)
        outputs = self._network(square.astype(np.float32) / 127.5 - 1.0)
        scores = runtime.sigmoid(outputs["Identity_1"][:, 0])
        sure = scores >= self._threshold
        raw = outputs["Identity"][sure, :4].astype(np.float64)
        centre = raw[:, :2] + self._anchors[sure] * self.side
        corners = np.concatenate([centre - raw[:, 2:] / 2, centre + raw[:, 2:] / 2], axis=1)
        boxes = (corners - np.array([pad_x, pad_y] * 2)) / scale
        kept = geometry.suppress(boxes, scores[sure], SAME)
        return boxes[kept], scores[sure][kept]


class Either:
    """Several detectors as one: what any of them sees."""

    def __init__(self, detectors: Sequence[FaceDetector], name: str) -> None:
        self._detectors = detectors
        self.name = name

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Faces of one frame, each once."""
        found = [detector(frame) for detector in self._detectors]
        boxes, scores = (np.concatenate(part) for part in zip(*found, strict=True))
        kept = geometry.suppress(boxes, scores, SAME)
        return boxes[kept], scores[kept]


def auditors() -> Either:
    """Short and full range together: the detector of the data set's audit."""
    return Either((BlazeFace(), FullRange()), "BlazeFace, short and full range (MediaPipe 0.10.14)")
