"""The audit of one clip, while it is masked: a detector that did not mask looks at masked frames, and at raw ones to
show that it can see; another one looks at tiles of them for small faces; raw and released pixels are correlated.

Scores of BlazeFace, measured: whole faces .84 to .96, half-masked ones .59 to .88, letters of a cartoon's title to .71.
So every hit from the detector's own threshold (.5) counts, except in a clip in which no face was ever detected: there a
hit far from any mask counts from ``SURE`` on, and a lesser one is reported as unsure. In tiles, which show much that is
no face, hits count from ``SURE`` on in any clip.

Now and then the detector of burnt-in text looks at a masked frame again. What it sees there is reported, not judged:
print on clothes and signs count, too.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np

from deemo_dist.config import PolicyConfig
from deemo_dist.deid import geometry
from deemo_dist.deid.audit.pixels import PixelProbe
from deemo_dist.deid.audit.tiles import TileLook, TileWatch
from deemo_dist.deid.faces.detectors import FaceDetector
from deemo_dist.deid.faces.openings import Opening, Openings, Place, Sight
from deemo_dist.deid.faces.text import TextDetector

COVERED = 0.5
OPEN = 0.95  # hidden by less, a hit is masked, too: that costs a larger mask, no clip
SURE = 0.75
SENSED = 3
TEXT_SECONDS = 5.0
WHOLE: Place = (0, 0, 0, 0)  # the frame, of which tiles are parts
LONGEST_STEP = 0.5  # seconds between two audited frames, however slow they are


@dataclass(frozen=True)
class FaceAudit:
    """``residual_rate``: share of audited frames in which a face lies mostly outside the masked regions, or of rounds
    over all tiles, whichever is more. ``inside``: share in which one is seen within them (blur, mosaic).
    ``sensitivity``: share of frames with a known face, of every ``SENSED``-th audited, in which the audit's detector
    saw one before masking; None where there was none. ``unsure``: share of audited frames, or of rounds over all tiles,
    with a hit that was not counted. ``pixel_correlation``: of raw pixels and those of the released file, the highest of
    any masked region (see ``correlation``); None where nothing was masked. ``residual_text``: share of frames looked at
    for text in which some lies mostly outside the masked regions; None where nobody looked."""

    frames: int
    residual_rate: float
    inside: float
    sensitivity: float | None
    unsure: float
    pixel_correlation: float | None
    residual_text: float | None = None


@dataclass(frozen=True)
class _Look:
    """One audited frame: hits of the detector after masking, how far each is hidden, and whether one was seen before
    (None: nothing to see)."""

    number: int
    scores: np.ndarray
    hidden: np.ndarray
    seen: bool | None


@dataclass
class _Round:
    """One round over all tiles: whether a face was found that is not masked, for sure or perhaps."""

    sure: bool = False
    unsure: bool = False

    def take(self, scores: np.ndarray, hidden: np.ndarray) -> None:
        """Note what a tile showed."""
        seen, sure = hidden < COVERED, scores >= SURE
        self.sure |= bool((seen & sure).any())
        self.unsure |= bool((seen & ~sure).any())


class ClipAudit:
    """Sees every frame of a clip once, in order, and audits every ``policy.audit_every``-th, out of phase with
    detection (which starts at 0), and the last; of slow frames more, one as soon as
    ``LONGEST_STEP`` is over. Holds one frame, whatever the length.

    ``detected``: frames in which the masking detector saw a face; None takes every masked frame for one. ``small``:
    what is shown the tiles of frames, ``text``: what finds text every ``TEXT_SECONDS``; None: nothing does.
    """

    def __init__(
        self,
        policy: PolicyConfig,
        detector: FaceDetector,
        *,
        detected: Collection[int] | None = None,
        small: FaceDetector | None = None,
        text: TextDetector | None = None,
    ) -> None:
        self._every = policy.audit_every
        self._least = OPEN if policy.faces == "fill" else COVERED
        self._detector = detector
        self._detected = detected
        self._tiles = TileWatch(small) if small is not None else None
        self._text = text
        self._texts: list[bool] = []
        self._text_at = -np.inf
        self._pixels = PixelProbe()
        self._openings = Openings()
        self._end = 0
        self._looks: list[_Look] = []
        self._rounds: list[_Round] = []
        self._masked = False
        self._last: tuple[int, np.ndarray, np.ndarray, np.ndarray] | None = None
        self._looked: int | None = None
        self._looked_at: float | None = None

    def see(self, number: int, time: float, raw: np.ndarray, masked: np.ndarray, regions: np.ndarray) -> None:
        """Frame ``number`` at ``time`` s: ``raw`` and ``masked`` uint8 [H, W, 3], neither changed afterwards;
        ``regions`` int [N, 4], the pixel boxes that were masked."""
        self._masked = self._masked or len(regions) > 0
        since = time if self._looked_at is None else self._looked_at
        late = time - since >= LONGEST_STEP - 1e-6
        if late and self._last is not None and self._looked is None:
            self._look(*self._last)
        self._looked_at = since
        self._last, self._end = (number, raw, masked, regions), number
        due = number == self._every // 2 if self._looked is None else number - self._looked >= self._every
        if not (late or due):
            return
        self._look(*self._last)
        self._looked_at = time
        if self._text is not None and time - self._text_at >= TEXT_SECONDS:
            self._texts.append(bool((hits_covered(self._text(masked), regions, masked.shape) < COVERED).any()))
            self._text_at = time

    def _see_last(self) -> None:
        """No more frames come: the last is looked at as well as any, in the tiles that are left, too."""
        if self._last is None:
            return
        number, _, masked, regions = self._last
        if number != self._looked:
            self._look(*self._last)
        if self._tiles is not None and not self._tiles.whole:
            self._take(number, self._tiles.all_of(masked), regions, masked.shape)
        self._last = None

    def openings(self) -> list[Opening]:
        """Where, and from which frame to which, faces may be open to see: about every hit that the masks hide by less
        than ``OPEN``, hits that may not count for the figures among them; where a published method is reproduced, by
        less than ``COVERED``."""
        self._see_last()
        return self._openings.all(self._end)

    def finish(self, shown: Callable[[int], np.ndarray] | None) -> FaceAudit:
        """What was found; all zeros for a clip without frames. ``shown``: a frame of the released file by its number,
        uint8 [H, W, 3]; None: nothing is released."""
        self._see_last()
        known = self._masked if self._detected is None else bool(self._detected)
        correlation = None if shown is None else self._pixels.against(shown)
        found = summary(self._looks, self._rounds, correlation, enough=0.0 if known else SURE)
        return replace(found, residual_text=_share(self._texts) if self._texts else None)

    def _look(self, number: int, raw: np.ndarray, masked: np.ndarray, regions: np.ndarray) -> None:
        """Audit a frame."""
        self._looked = number
        hits, scores = self._detector(masked)
        known = len(regions) > 0 if self._detected is None else number in self._detected
        asked = known and len(self._looks) % SENSED == 0
        seen = len(self._detector(raw)[0]) > 0 if asked else None
        hidden = hits_covered(hits, regions, masked.shape)
        self._looks.append(_Look(number, scores, hidden, seen))
        self._pixels.see(number, raw, regions)
        self._openings.take(WHOLE, Sight(number, hits, hidden < self._least))
        if self._tiles is None:
            return
        if self._tiles.whole:
            self._rounds.append(_Round())
        self._take(number, self._tiles(masked), regions, masked.shape)

    def _take(self, number: int, looks: Iterable[TileLook], regions: np.ndarray, shape: tuple[int, ...]) -> None:
        """What tiles showed."""
        for look in looks:
            hidden = hits_covered(look.boxes, regions, shape)
            self._rounds[-1].take(look.scores, hidden)
            open_ = (hidden < self._least) & (look.scores >= SURE)
            self._openings.take(look.tile, Sight(number, look.boxes, open_))


def summary(
    looks: Collection[_Look], rounds: Collection[_Round], correlation: float | None, *, enough: float
) -> FaceAudit:
    """Shares over the audited frames; hits away from any mask count from the score ``enough`` on."""
    counted = [(look, (look.hidden > 0) | (look.scores >= enough)) for look in looks]
    seen = [look.seen for look in looks if look.seen is not None]
    residual = _share(bool((counts & (look.hidden < COVERED)).any()) for look, counts in counted)
    unsure = _share(bool((~counts).any()) for _, counts in counted)
    return FaceAudit(
        frames=len(looks),
        residual_rate=max(residual, _share(each.sure for each in rounds)),
        inside=_share(bool((look.hidden >= COVERED).any()) for look in looks),
        sensitivity=sum(seen) / len(seen) if seen else None,
        unsure=max(unsure, _share(each.unsure for each in rounds)),
        pixel_correlation=correlation,
    )


def worst(last: FaceAudit, passes: Iterable[FaceAudit]) -> FaceAudit:
    """The audit of the last pass over a clip, with the highest shares that any of the ``passes`` had."""
    every = [last, *passes]
    return replace(
        last,
        residual_rate=max(each.residual_rate for each in every),
        unsure=max(each.unsure for each in every),
        inside=max(each.inside for each in every),
    )


def _share(found: Iterable[bool]) -> float:
    """How many are true, of all; 0 of none."""
    every = list(found)
    return sum(every) / max(1, len(every))


def hits_covered(hits: np.ndarray, regions: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Share of each hit [N, 4], as far as it lies in a frame of ``shape`` [H, W, ...], that the regions cover, overlaps
    counted once: [N] in 0..1; 0 of a hit outside."""
    height, width = shape[:2]
    shares = np.zeros(len(hits))
    for number, hit in enumerate(hits):
        snapped = geometry.snap(hit, 1, width, height)
        if len(snapped):
            shares[number] = covered_share(snapped[0], regions)
    return shares


def covered_share(box: np.ndarray, regions: np.ndarray) -> float:
    """Share of a pixel box [4] that the regions [N, 4] cover, overlaps counted once: 0..1."""
    left, top, right, bottom = (int(value) for value in box)
    grid = np.zeros((bottom - top, right - left), dtype=bool)
    for x0, y0, x1, y1 in regions:
        grid[max(0, y0 - top) : max(0, y1 - top), max(0, x0 - left) : max(0, x1 - left)] = True
    return float(grid.mean())
