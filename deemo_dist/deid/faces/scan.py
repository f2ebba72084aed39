"""Faces of a clip as its frames go by: looked for now and then, and on every frame where something happens.

A short memory of frames allows to look back: where a face is new or gone, moves fast or loses score, or the scene is
cut, the frames since the last look are looked at too. Faces too small for the scaled copy are found on a finer one now
and then, and followed from there in crops: onwards, and back through what is kept of the looks since the finer one
before. Where they are not followed they are held from one finer look to the next (see ``cover``).

A face larger than the picture is found on a copy seen from farther off (see ``far``): looked for wherever no face is
sure, and now and then beside one. What is found there is held from one such look to the next, too.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deemo_dist.config import PolicyConfig
from deemo_dist.deid import geometry
from deemo_dist.deid.faces.cuts import CutWatch
from deemo_dist.deid.faces.detectors import CenterFace, FaceDetector
from deemo_dist.deid.faces.far import SIDES, FarFace, FarWatch
from deemo_dist.deid.faces.tracks import matched
from deemo_dist.deid.light import is_dark

RATE = 25.0  # frames a second, that a policy's numbers of frames are meant for: a slower clip is looked at as often
FINE_SECONDS = 1.0
SURE = 0.5  # of a face beside which one that fills the picture is looked for now and then only
FAINT = 0.5  # of the threshold, for a face that fills the picture: hardly anything else does
FINEST = 3840
KEPT_BYTES = 48 * 2**20  # of frames looked at since the last finer look: a second of 1080p
CROPS = 8  # so many cost about what the finer copy does
REACH = 1.0  # sides by which a face is taken to be wider, when it is followed back: it may have come quickly
PATIENCE = 2  # looks in a row without it, until a face is not followed further back
SMALLEST_IN_COPY = 24.0  # pixels: smaller ones are followed in crops of the frame itself
CROP = 6.0  # sides of a face
LEAST_CROP = 96
FAST = 0.35  # of a face's size, between two looks
FALL = 0.6  # of the score before
SAME = 0.4  # of two boxes' area shared: one face

Found = tuple[np.ndarray, np.ndarray]
"""Boxes float64 [N, 4] and scores float64 [N]."""


@dataclass(frozen=True)
class FaceTracks:
    """What was found: ``boxes`` by frame looked at (float64 [N, 4]), and the frames that begin another scene.

    ``fine``: frames looked at on the finer copy, without which a face whose longer side is under ``small`` pixels may
    be missed. ``far``: frames in which a face that fills the picture was looked for. ``dark``: frames too dark to be
    sure of any look."""

    boxes: dict[int, np.ndarray]
    cuts: tuple[int, ...] = ()
    fine: tuple[int, ...] = ()
    small: float = 0.0
    far: tuple[int, ...] = ()
    dark: tuple[int, ...] = ()


@dataclass(frozen=True)
class FaceModels:
    """The detectors, loaded once in a process: ``coarse`` on a scaled copy, ``fine`` on the frame nearly as it is,
    ``far`` (taken in turn) on copies seen from farther off."""

    coarse: FaceDetector
    fine: FaceDetector
    width: int
    far: tuple[FaceDetector, ...] = ()

    @classmethod
    def of(cls, policy: PolicyConfig) -> "FaceModels":
        """CenterFace at the policy's width and threshold, at full size, and from afar."""
        faint = FAINT * policy.face_threshold
        return cls(
            coarse=CenterFace(width=policy.detect_width, threshold=policy.face_threshold),
            fine=CenterFace(width=FINEST, threshold=policy.face_threshold),
            width=policy.detect_width,
            far=tuple(FarFace(CenterFace(width=side, threshold=faint), side) for side in SIDES),
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
        self._kept: deque[tuple[int, np.ndarray]] = deque()
        self._looked: int | None = None
        self._fine: list[int] = []
        self._fine_at = -np.inf
        self._small = np.zeros((0, 4))
        self._least = 0.0
        self._dark: list[int] = []
        self._seconds = policy.detect_every / RATE
        self._looked_at = 0.0
        self._far = FarWatch(models.far)
        self._now = 0.0

    def see(self, number: int, time: float, frame: np.ndarray) -> None:
        """Take the next frame (uint8 [H, W, 3] RGB) at ``time`` seconds."""
        self._now = time
        cut = self._cut(frame)
        if cut:
            self._close()
            self._look_back(number)
            self._far.renew()
            self._memory.clear()
            self._cuts.append(number)
            self._looked = None
        if self._is_large(frame):
            self._least = SMALLEST_IN_COPY * max(frame.shape[:2]) / self._models.width
        self._memory.append((number, frame))
        if is_dark(frame):
            self._dark.append(number)
        if self._looked is None or number - self._looked >= self._every or time - self._looked_at > self._seconds:
            self._look(number, time, frame)
            self._looked_at = time

    def finish(self) -> FaceTracks:
        """What was found; the last frame is always looked at."""
        self._close()
        self._memory.clear()
        boxes = {number: found[0] for number, found in sorted(self._found.items())}
        far = tuple(sorted(self._far.frames))
        return FaceTracks(boxes, tuple(self._cuts), tuple(self._fine), self._least, far, tuple(self._dark))

    def _close(self) -> None:
        """End a scene: its last frame is looked at as well as any, and nothing is followed beyond."""
        if not self._memory:
            return
        number, frame = self._memory[-1]
        fine = self._is_large(frame) and number not in self._fine
        if fine or number != self._looked or self._far.wants(number):
            self._far.renew()
            self._examine(number, frame, fine=fine)
        self._kept.clear()
        self._small = self._small[:0]
        self._fine_at = -np.inf

    def _look(self, number: int, time: float, frame: np.ndarray) -> None:
        """Look at a frame, on the finer copy if that is due."""
        fine = self._is_large(frame) and time - self._fine_at >= FINE_SECONDS
        self._examine(number, frame, fine=fine)
        if fine:
            self._fine_at = time

    def _examine(self, number: int, frame: np.ndarray, *, fine: bool) -> None:
        """Look at a frame, and at those between it and the last look if something happened."""
        known, before = self._small, self._found.get(number)
        found = self._detected(number, frame, fine=fine)
        self._found[number] = found if before is None else merged([before, found])
        if self._looked is not None and restless(self._found[self._looked], self._found[number]):
            self._look_back(number)
        self._looked = number
        if fine:
            self._fine.append(number)
            self._trace(unmatched(known, self._small))
            self._kept.clear()
        elif self._is_large(frame):
            self._keep(number, frame)

    def _keep(self, number: int, frame: np.ndarray) -> None:
        """Remember a frame looked at, as far as there is room."""
        self._kept.append((number, frame))
        while len(self._kept) * frame.nbytes > KEPT_BYTES and len(self._kept) > 1:
            self._kept.popleft()

    def _trace(self, small: np.ndarray) -> None:
        """Follow small faces [N, 4] that only the finer copy showed back through the frames kept."""
        missed = np.zeros(len(small), dtype=int)
        for at, frame in reversed(self._kept):
            small, missed = small[missed <= PATIENCE], missed[missed <= PATIENCE]
            if not len(small):
                return
            found = self._closely(frame, small)
            pairs = {old: new for new, old in matched(geometry.dilate(small, REACH), found[0]).items()}
            old, new = list(pairs), list(pairs.values())
            self._found[at] = merged([self._found[at], (found[0][new], found[1][new])])
            small[old] = found[0][new]
            missed += 1
            missed[old] = 0

    def _look_back(self, number: int) -> None:
        """Look at the frames since the last look that are still remembered."""
        for at, frame in list(self._memory):
            if at < number and at not in self._found:
                self._found[at] = self._detected(at, frame, fine=False)

    def _is_large(self, frame: np.ndarray) -> bool:
        return max(frame.shape[:2]) > 1.25 * self._models.width

    def _detected(self, number: int, frame: np.ndarray, *, fine: bool) -> Found:
        """Faces of a frame by the scaled copy, by crops about the small ones known, by the finer copy, and from
        afar."""
        close = self._models.fine(frame) if fine else self._closely(frame, self._small)
        boxes, scores = merged([self._models.coarse(frame), close])
        if self._is_large(frame):
            small = boxes[(boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) < self._least]
            self._small = small if fine else np.concatenate([small, unmatched(boxes, self._small)])
        filling = self._far(number, self._now, frame, sure=bool((scores >= SURE).any()))
        return np.concatenate([boxes, filling[0]]), np.concatenate([scores, filling[1]])

    def _closely(self, frame: np.ndarray, small: np.ndarray) -> Found:
        """Faces about each of ``small`` [N, 4], in the frame's own pixels."""
        if len(small) > CROPS:
            return self._models.fine(frame)
        return merged([_in_crop(self._models.fine, frame, box) for box in small])


def merged(looks: Sequence[Found]) -> Found:
    """All that was found, each face once."""
    boxes = np.concatenate([np.zeros((0, 4)), *(found[0] for found in looks)])
    scores = np.concatenate([np.zeros(0), *(found[1] for found in looks)])
    kept = geometry.suppress(boxes, scores, SAME)
    return boxes[kept], scores[kept]


def unmatched(known: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Those of ``boxes`` [N, 4] that none of ``known`` [M, 4] stands for."""
    pairs = matched(known, boxes)
    return boxes[[number for number in range(len(boxes)) if number not in pairs]]


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
