"""Faces of a clip as its frames go by: looked for now and then, and on every frame where something happens.

A short memory of frames allows to look back: where a face is new or gone, moves fast or loses score, or the scene is
cut, the frames since the last look are looked at too. Faces too small for the scaled copy are found on a finer one now
and then, and followed from there in crops.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from deemo_dist.config import PolicyConfig
from deemo_dist.deid import geometry
from deemo_dist.deid.faces.cuts import CutWatch
from deemo_dist.deid.faces.detectors import CenterFace, FaceDetector
from deemo_dist.deid.faces.tracks import matched

FINE_SECONDS = 1.0
FINEST = 1920
SMALLEST_IN_COPY = 24.0  # pixels: smaller ones are followed in crops of the frame itself
CROP = 6.0  # sides of a face
LEAST_CROP = 96
FAST = 0.35  # of a face's size, between two looks
FALL = 0.6  # of the score before

Found = tuple[np.ndarray, np.ndarray]
"""Boxes float64 [N, 4] and scores float64 [N]."""


@dataclass(frozen=True)
class FaceTracks:
    """What was found: ``boxes`` by frame looked at (float64 [N, 4]), and the frames that begin another scene."""

    boxes: dict[int, np.ndarray]
    cuts: tuple[int, ...] = ()


@dataclass(frozen=True)
class FaceModels:
    """The detectors, loaded once in a process: ``coarse`` on a scaled copy, ``fine`` on the frame nearly as it is."""

    coarse: FaceDetector
    fine: FaceDetector
    width: int

    @classmethod
    def of(cls, policy: PolicyConfig) -> "FaceModels":
        """CenterFace at the policy's width and threshold, and at full size."""
        return cls(
            coarse=CenterFace(width=policy.detect_width, threshold=policy.face_threshold),
            fine=CenterFace(width=FINEST, threshold=policy.face_threshold),
            width=policy.detect_width,
        )


class FaceScan:
    """Finds the faces of one clip; see the module. Frames given to :meth:`see` are not to be changed afterwards."""

    def __init__(self, policy: PolicyConfig, models: FaceModels) -> None:
        self._every = policy.detect_every
        self._models = models
        self._cut = CutWatch()
        self._found: dict[int, Found] = {}
        self._cuts: list[int] = []
        self._memory: deque[tuple[int, np.ndarray]] = deque(maxlen=max(2, policy.detect_every))
        self._looked: int | None = None
        self._fine_at = -np.inf
        self._small = np.zeros((0, 4))

    def see(self, number: int, time: float, frame: np.ndarray) -> None:
        """Take the next frame (uint8 [H, W, 3] RGB) at ``time`` seconds."""
        cut = self._cut(frame)
        if cut:
            self._cuts.append(number)
            self._look_back(number)
            self._small = self._small[:0]
            self._fine_at = -np.inf
        self._memory.append((number, frame))
        if cut or self._looked is None or number - self._looked >= self._every:
            self._look(number, time, frame)

    def finish(self) -> FaceTracks:
        """What was found; the last frame is always looked at."""
        if self._memory and self._memory[-1][0] != self._looked:
            number, frame = self._memory[-1]
            self._found[number] = self._detected(frame, fine=False)
            self._densify(number)
        self._memory.clear()
        return FaceTracks({number: found[0] for number, found in sorted(self._found.items())}, tuple(self._cuts))

    def _look(self, number: int, time: float, frame: np.ndarray) -> None:
        """Look at a frame, on the finer copy if that is due, and between it and the last one if something happened."""
        fine = self._is_large(frame) and time - self._fine_at >= FINE_SECONDS
        self._found[number] = self._detected(frame, fine=fine)
        if fine:
            self._fine_at = time
        if not self._cuts or self._cuts[-1] != number:
            self._densify(number)
        self._looked = number

    def _densify(self, number: int) -> None:
        if self._looked is not None and restless(self._found[self._looked], self._found[number]):
            self._look_back(number)

    def _look_back(self, number: int) -> None:
        """Look at the frames since the last look that are still remembered."""
        for at, frame in list(self._memory):
            if at < number and at not in self._found:
                self._found[at] = self._detected(frame, fine=False)

    def _is_large(self, frame: np.ndarray) -> bool:
        return max(frame.shape[:2]) > 1.25 * self._models.width

    def _detected(self, frame: np.ndarray, *, fine: bool) -> Found:
        """Faces of a frame by the scaled copy, by crops about the small ones known, and by the finer copy."""
        looks = [self._models.coarse(frame)]
        looks += (
            [self._models.fine(frame)] if fine else [_in_crop(self._models.fine, frame, box) for box in self._small]
        )
        boxes = np.concatenate([found[0] for found in looks])
        scores = np.concatenate([found[1] for found in looks])
        kept = geometry.suppress(boxes, scores, 0.4)
        boxes, scores = boxes[kept], scores[kept]
        if self._is_large(frame):
            side = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) * self._models.width / max(frame.shape[:2])
            small = boxes[side < SMALLEST_IN_COPY]
            self._small = small if fine or len(small) else self._small
        return boxes, scores


def restless(before: Found, after: Found) -> bool:
    """Whether a face came, went, moved fast or lost score from one look to the next."""
    if len(before[0]) != len(after[0]):
        return True
    if not len(before[0]):
        return False
    pairs = matched(before[0], after[0])
    if len(pairs) != len(after[0]):
        return True
    new, old = np.array(list(pairs)), np.array(list(pairs.values()))
    centres = [(boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (before[0][old], after[0][new])]
    size = np.sqrt(np.maximum(geometry.area(before[0][old]), 1.0))
    moved = np.linalg.norm(centres[1] - centres[0], axis=1) / size
    return bool((moved > FAST).any() or (after[1][new] < FALL * before[1][old]).any())


def _in_crop(detector: FaceDetector, frame: np.ndarray, box: np.ndarray) -> Found:
    """Faces about ``box``, looked for in the frame's own pixels."""
    height, width = frame.shape[:2]
    side = max(LEAST_CROP, CROP * float((box[2:] - box[:2]).max()))
    middle = (box[:2] + box[2:]) / 2
    left, top = (int(np.clip(middle[axis] - side / 2, 0, (width, height)[axis] - 1)) for axis in (0, 1))
    crop = frame[top : top + int(side), left : left + int(side)]
    boxes, scores = detector(np.ascontiguousarray(crop))
    return boxes + np.array([left, top] * 2), scores
