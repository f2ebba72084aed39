"""The audit of one clip, while it is masked: a detector that did not mask looks at masked frames, and at raw ones to
show that it can see; raw and released pixels inside the masks are correlated.

Scores of BlazeFace, measured: whole faces .84 to .96, half-masked ones .59 to .88, letters of a cartoon's title to .71.
So every hit from the detector's own threshold (.5) counts, except in a clip in which no face was ever detected: there a
hit far from any mask counts from ``SURE`` on, and a lesser one is reported as unsure.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from deemo_dist.config import PolicyConfig
from deemo_dist.deid import geometry
from deemo_dist.deid.faces.detectors import FaceDetector

COVERED = 0.5
SURE = 0.75
SENSED = 3
FLOOR = 2.0
PIXELS = 1024


@dataclass(frozen=True)
class FaceAudit:
    """``residual_rate``: share of audited frames in which a face lies mostly outside the masked regions. ``inside``:
    share in which one is seen within them (blur, mosaic). ``sensitivity``: share of frames with a known face,
    of every ``SENSED``-th audited, in which the audit's detector saw one before masking; None where there was none.
    ``unsure``: share of audited frames with a hit that was not counted. ``pixel_correlation``: the highest of any
    masked region (see ``correlation``); None where nothing was masked."""

    frames: int
    residual_rate: float
    inside: float
    sensitivity: float | None
    unsure: float
    pixel_correlation: float | None


@dataclass(frozen=True)
class _Look:
    """One audited frame: hits of the detector after masking, how far each is hidden, and whether one was seen before
    (None: nothing to see)."""

    number: int
    scores: np.ndarray
    hidden: np.ndarray
    seen: bool | None
    correlation: float | None


class ClipAudit:
    """Sees every frame of a clip once, in order, and audits every ``policy.audit_every``-th, out of phase with
    detection (which starts at 0), and the last. Holds one frame, whatever the length.

    ``detected``: frames in which the masking detector saw a face; None takes every masked frame for one.
    """

    def __init__(
        self, policy: PolicyConfig, detector: FaceDetector, *, detected: Collection[int] | None = None
    ) -> None:
        self._every = policy.audit_every
        self._detector = detector
        self._detected = detected
        self._looks: list[_Look] = []
        self._masked = False
        self._last: tuple[int, np.ndarray, np.ndarray, np.ndarray] | None = None

    def see(self, number: int, time: float, raw: np.ndarray, masked: np.ndarray, regions: np.ndarray) -> None:
        """Frame ``number`` at ``time`` s: ``raw`` and ``masked`` uint8 [H, W, 3], neither changed afterwards;
        ``regions`` int [N, 4], the pixel boxes that were masked."""
        self._masked = self._masked or len(regions) > 0
        self._last = (number, raw, masked, regions)
        if number % self._every == self._every // 2:
            self._look()

    def finish(self) -> FaceAudit:
        """What was found; all zeros for a clip without frames."""
        self._look()
        known = self._masked if self._detected is None else bool(self._detected)
        return summary(self._looks, enough=0.0 if known else SURE)

    def _look(self) -> None:
        """Audit the frame that is held, once."""
        if self._last is None:
            return
        (number, raw, masked, regions), self._last = self._last, None
        hits, scores = self._detector(masked)
        known = len(regions) > 0 if self._detected is None else number in self._detected
        asked = known and len(self._looks) % SENSED == 0
        self._looks.append(
            _Look(
                number=number,
                scores=scores,
                hidden=hits_covered(hits, regions),
                seen=len(self._detector(raw)[0]) > 0 if asked else None,
                correlation=masked_correlation(raw, masked, regions),
            )
        )


def summary(looks: Collection[_Look], *, enough: float) -> FaceAudit:
    """Shares over the audited frames; hits away from any mask count from the score ``enough`` on."""
    counted = [(look, (look.hidden > 0) | (look.scores >= enough)) for look in looks]
    seen = [look.seen for look in looks if look.seen is not None]
    correlations = [look.correlation for look in looks if look.correlation is not None]
    count = max(1, len(looks))
    return FaceAudit(
        frames=len(looks),
        residual_rate=sum(bool((counts & (look.hidden < COVERED)).any()) for look, counts in counted) / count,
        inside=sum(bool((look.hidden >= COVERED).any()) for look in looks) / count,
        sensitivity=sum(seen) / len(seen) if seen else None,
        unsure=sum(bool((~counts).any()) for _, counts in counted) / count,
        pixel_correlation=max(correlations, default=None),
    )


def masked_correlation(raw: np.ndarray, released: np.ndarray, regions: np.ndarray) -> float | None:
    """The highest correlation of raw and released pixels in any of ``regions`` [N, 4]; None without regions."""
    found = [
        correlation(raw[y0:y1, x0:x1, 1], released[y0:y1, x0:x1, 1])
        for x0, y0, x1, y1 in np.asarray(regions, dtype=np.int64)
        if y1 > y0 and x1 > x0
    ]
    return max(found, default=None)


def correlation(raw: np.ndarray, released: np.ndarray) -> float:
    """Absolute Pearson correlation of two grey patches [H, W], over at most about ``PIXELS`` of their pixels: 0..1.

    Standard deviations count as at least ``FLOOR`` grey levels: an opaque fill gives 0 instead of 0 / 0, and the faint
    noise that an encoder leaves in one cannot correlate by chance.
    """
    step = max(1, int(np.sqrt(raw.size / PIXELS)))
    first, second = (patch[::step, ::step].astype(np.float64).ravel() for patch in (raw, released))
    if first.size < 2:
        return 0.0
    first, second = first - first.mean(), second - second.mean()
    scale = max(float(first.std()), FLOOR) * max(float(second.std()), FLOOR)
    return min(1.0, abs(float((first * second).mean())) / scale)


def hits_covered(hits: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Share of each hit [N, 4] that the regions cover, overlaps counted once: [N] in 0..1."""
    shares = np.zeros(len(hits))
    for number, hit in enumerate(hits):
        snapped = geometry.snap(hit, 1, 1 << 15, 1 << 15)
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
