"""An attacker who recognises faces: dlib's ResNet (King 2017), aligned by where the face was in the *raw* frame.

The weights did not do the masking. The attacker is given more than he has: he knows where the face was, and cuts the
same patch out of the released frame. He reads it twice, in gallery and probe alike: the face by itself, by one window
for all, and the head, as the network was taught to be shown it: hair, ears and jaw, and a little of what is beside
them. Neck, clothing and room are left to the attack on whole pictures, which link by them. Templates stay in memory.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from deemo_dist.weights import fetch

CHIP = 150
PADDING = 0.25
RIM = 25  # of the patch, on each side: what lies around a face that is aligned with this padding
GREY = 127


@dataclass(frozen=True)
class Patch:
    """The same aligned patch of one frame before and after, head and all: uint8 [150, 150, 3] each."""

    raw: np.ndarray
    released: np.ndarray


class FaceReader:
    """dlib's landmarks and face embedding, loaded once. About 0.1 s an embedding on one core."""

    name = "dlib ResNet (face-recognition-models 0.3.0)"

    def __init__(self) -> None:
        import dlib

        self._landmarks = dlib.shape_predictor(str(fetch("dlib-landmarks-5")))
        self._network = dlib.face_recognition_model_v1(str(fetch("dlib-face-resnet")))

    def patch(self, raw: np.ndarray, released: np.ndarray, box: np.ndarray) -> Patch:
        """Where ``box`` (float [4], of a face in ``raw``) says: both frames uint8 [H, W, 3] of one size."""
        points = self._points(raw, box)
        return Patch(raw=self._cut(raw, points), released=self._cut(released, points))

    def embed(self, patch: np.ndarray) -> np.ndarray:
        """A template of unit-like length, float64 [128]; two of one person are usually nearer than 0.6."""
        return np.asarray(self._network.compute_face_descriptor(np.ascontiguousarray(patch)), dtype=np.float64)

    def _points(self, frame: np.ndarray, box: np.ndarray) -> Any:
        import dlib

        left, top, right, bottom = (round(float(value)) for value in box)
        return self._landmarks(np.ascontiguousarray(frame), dlib.rectangle(left, top, right, bottom))

    def _cut(self, frame: np.ndarray, points: Any) -> np.ndarray:
        import dlib

        return np.asarray(dlib.get_face_chip(np.ascontiguousarray(frame), points, size=CHIP, padding=PADDING))


def face_alone(patch: np.ndarray) -> np.ndarray:
    """A patch uint8 [150, 150, 3] with all but the face itself greyed."""
    alone = np.full_like(patch, GREY)
    alone[RIM:-RIM, RIM:-RIM] = patch[RIM:-RIM, RIM:-RIM]
    return alone
