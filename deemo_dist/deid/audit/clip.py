"""What an attacker takes out of one released clip beside the raw one: figures may be kept, templates may not.

Looks at the *encoded* release, frame by frame beside the raw frames, at a few evenly spread frames.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from deemo_dist.deid import geometry
from deemo_dist.deid.audit.coverage import covered, filled
from deemo_dist.deid.audit.faces import COVERED, SURE
from deemo_dist.deid.audit.identity import FaceReader, Patch, face_alone
from deemo_dist.deid.audit.pixels import correlation
from deemo_dist.deid.audit.tiles import TileWatch
from deemo_dist.deid.faces import masking
from deemo_dist.deid.faces.detectors import FaceDetector
from deemo_dist.errors import MediaError

LOOKS = 18
PATCHES = 3
CONTROLS = ("mosaic", "blur")
DILATE = 0.2
INSET = 0.1
SIDE = 16
STILL_SIDE = 220
RELEASED, RAW = "released", "none"


@dataclass(frozen=True, kw_only=True)
class ClipFinding:
    """One clip: figures by name, counts of looks, and the templates of one person's face and picture.

    ``looks``: frames looked at; ``seen``, ``residual``: those in which a face was found before, and is after;
    ``correlations``: of raw and released pixels inside each raw face box; ``coverage``: share of each true box that is
    filled; ``faces``: mean template by masking kind (``released``, ``none`` and the controls), empty where no face was
    seen; ``heads``: the same with hair and jaw (``released`` and ``none``); ``picture``: the released frames as an
    attacker may compare them; ``still``: one released frame, uint8 [H, W, 3] with no side over ``STILL_SIDE``, where
    one was to be kept.
    """

    key: str
    subject: str
    looks: int
    seen: int
    residual: int
    correlations: tuple[float, ...]
    coverage: tuple[float, ...]
    faces: Mapping[str, np.ndarray] = field(repr=False)
    heads: Mapping[str, np.ndarray] = field(repr=False)
    picture: np.ndarray = field(repr=False)
    still: np.ndarray | None = field(default=None, repr=False)


def looks(frames: int, count: int = LOOKS) -> tuple[int, ...]:
    """The frames to look at: at most ``count``, evenly spread, each once."""
    return tuple(sorted({(2 * bin_ + 1) * frames // (2 * count) for bin_ in range(count)})) if frames > 0 else ()


class ClipObserver:
    """Sees a few frames of one clip, raw and released, in order. Memory: some patches, whatever the length.

    ``boxes``: true face boxes by frame number, float [N, 4], where they are known. ``controls``: masking kinds that
    the raw faces are also given, so that a reader sees what they would have been worth. ``small``: a detector that is
    shown tiles of the released frames, in turn. ``known``: whether a face was found when the clip was masked; then any
    hit outside the fill counts, as it does where one is seen in the raw frames. ``still``: keep a small copy of one
    released frame for a report.
    """

    def __init__(
        self,
        detector: FaceDetector,
        reader: FaceReader | None,
        *,
        frames: int,
        boxes: Mapping[int, np.ndarray] | None = None,
        controls: Sequence[str] = CONTROLS,
        small: FaceDetector | None = None,
        known: bool = False,
        still: bool = False,
    ) -> None:
        self._detector = detector
        self._reader = reader
        self._frames = frames
        self._boxes = boxes or {}
        self._controls = controls
        self._known = known
        self._keeps_still = still
        self.wanted = frozenset({*looks(frames), *self._boxes})
        self._best: dict[int, tuple[float, dict[str, np.ndarray]]] = {}
        self._tiles = TileWatch(small) if small is not None else None
        self._hits: list[tuple[np.ndarray, np.ndarray]] = []
        self._small: list[bool] = []
        self._seen = 0
        self._correlations: list[float] = []
        self._coverage: list[float] = []
        self._pictures: list[np.ndarray] = []
        self._still: np.ndarray | None = None

    def see(self, number: int, raw: np.ndarray | None, released: np.ndarray) -> None:
        """One of the ``wanted`` frames: uint8 [H, W, 3] each, of one size; ``raw`` None where there is none to see."""
        opaque = filled(released)
        self._coverage += [covered(box, opaque) for box in self._boxes.get(number, ())]
        if self._keeps_still and (self._still is None or number <= self._frames // 2):
            self._still = _shrunk(released)
        self._pictures.append(_thumbnail(released))
        hits, sure = self._detector(released)
        self._hits.append((np.array([covered(hit, opaque) for hit in hits]), sure))
        self._small.append(self._shows_small(released, opaque))
        if raw is not None:
            self._face(number, raw, released)

    def _shows_small(self, released: np.ndarray, opaque: np.ndarray) -> bool:
        """Whether there is a face for sure in the tiles whose turn it is, outside the fill."""
        if self._tiles is None:
            return False
        return any(
            score >= SURE and covered(box, opaque) < COVERED
            for look in self._tiles(released)
            for box, score in zip(look.boxes, look.scores, strict=True)
        )

    def _face(self, number: int, raw: np.ndarray, released: np.ndarray) -> None:
        """The largest sure face, if any: its pixels' correlation, and its patch where it is the best of its part."""
        found, scores = self._detector(raw)
        if not len(found):
            return
        self._seen += 1
        worth = geometry.area(found) * scores
        box, value = found[int(worth.argmax())], float(worth.max())
        self._correlations.append(_correlation(raw, released, box))
        part = min(PATCHES - 1, number * PATCHES // max(1, self._frames))
        if self._reader is not None and value > self._best.get(part, (0.0,))[0]:
            self._best[part] = (value, self._patches(self._reader, raw, released, box))

    def _patches(
        self, reader: FaceReader, raw: np.ndarray, released: np.ndarray, box: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The face's patch by masking kind."""
        patch: Patch = reader.patch(raw, released, box)
        region = geometry.snap(geometry.dilate(box, DILATE), masking.GRID, raw.shape[1], raw.shape[0])
        others = {
            kind: reader.patch(raw, masking.mask(raw[None], [region], kind=kind)[0], box).released  # type: ignore[arg-type]
            for kind in self._controls
        }
        return {RAW: patch.raw, RELEASED: patch.released, **others}

    def finish(self, key: str, subject: str) -> ClipFinding:
        """What was found; ``subject`` groups clips. Raises ``MediaError`` with the ``key`` where nothing was seen."""
        if not self._pictures:
            raise MediaError(
                f"no frame of clip {key} was seen: it ends before the first of its {self._frames} to be looked at",
                reason="empty",
                hint="is the raw file still the one that was de-identified?",
            )
        enough = 0.0 if self._seen or self._known else SURE
        return ClipFinding(
            key=key,
            subject=subject,
            looks=len(self._hits),
            seen=self._seen,
            residual=sum(
                small or bool(((hidden < COVERED) & ((hidden > 0) | (sure >= enough))).any())
                for (hidden, sure), small in zip(self._hits, self._small, strict=True)
            ),
            correlations=tuple(self._correlations),
            coverage=tuple(self._coverage),
            faces=self._templates((RAW, RELEASED, *self._controls), face_alone),
            heads=self._templates((RAW, RELEASED), lambda patch: patch),
            picture=np.mean(self._pictures, axis=0),
            still=self._still,
        )

    def _templates(self, kinds: Sequence[str], shown: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
        """The mean template of what is ``shown`` of the kept patches, by masking kind; empty without a face."""
        patches, reader = [patches for _, patches in self._best.values()], self._reader
        if reader is None or not patches:
            return {}
        return {kind: np.mean([reader.embed(shown(patch[kind])) for patch in patches], axis=0) for kind in kinds}


def _correlation(raw: np.ndarray, released: np.ndarray, box: np.ndarray) -> float:
    """Of the green channel inside the box, less its rim, where an encoder lets the surroundings in."""
    inner = geometry.snap(geometry.dilate(box, -INSET), 1, raw.shape[1], raw.shape[0])
    if not len(inner):
        return 0.0
    left, top, right, bottom = inner[0]
    return correlation(raw[top:bottom, left:right, 1], released[top:bottom, left:right, 1])


def _shrunk(frame: np.ndarray) -> np.ndarray:
    """A copy of its own with no side over ``STILL_SIDE``: a view would keep all frames decoded with it in memory."""
    import cv2

    height, width = frame.shape[:2]
    scale = STILL_SIDE / max(height, width)
    if scale >= 1:
        return frame.copy()
    sides = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(frame, sides, interpolation=cv2.INTER_AREA))


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    """16 x 16 mean colours, brightness taken out: float64 [768]."""
    import cv2

    small = cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    return (small - small.mean()) / max(float(small.std()), 1.0)
