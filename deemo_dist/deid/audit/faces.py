"""The audit: a detector that did not mask looks at masked frames, and at the raw ones to show that it can see.

Scores of BlazeFace, measured: whole faces .84 to .96, half-masked ones .59 to .88, letters of a cartoon's title to .71.
So every hit from the detector's own threshold (.5) counts, except in a clip in which no face was ever detected: there a
hit far from any mask counts from ``SURE`` on, and a lesser one is reported as unsure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deemo_dist.deid import geometry
from deemo_dist.deid.faces.detectors import FaceDetector

COVERED = 0.5
SURE = 0.75


@dataclass(frozen=True)
class FaceAudit:
    """``residual_rate``: share of audited frames in which a face lies mostly outside the masked regions. ``inside``:
    share in which one is seen within them (blur, mosaic). ``sensitivity``: share of audited frames with a known face in
    which the audit's detector saw one before masking; None where there was none to see. ``unsure``: share of audited
    frames with a hit that was not counted."""

    frames: int
    residual_rate: float
    inside: float
    sensitivity: float | None
    unsure: float


def audited(frames: int, every: int) -> list[int]:
    """Frames to audit: every ``every``-th, out of phase with detection (which starts at 0), and the last."""
    return sorted({*range(min(every // 2, frames - 1), frames, every), frames - 1}) if frames > 0 else []


def audit_faces(
    raw: np.ndarray,
    masked: np.ndarray,
    regions: Sequence[np.ndarray],
    detector: FaceDetector,
    *,
    every: int,
    with_face: Sequence[bool],
) -> FaceAudit:
    """Audit a clip. ``raw``, ``masked``: uint8 [T, H, W, 3]; ``regions``: int [N, 4] a frame; ``with_face``: whether
    the frame is known to show a face."""
    numbers = audited(len(masked), every)
    enough = 0.0 if any(with_face) else SURE
    outside = inside = seen = known = unsure = 0
    for number in numbers:
        hits, scores = detector(masked[number])
        hidden = hits_covered(hits, regions[number])
        counts = (hidden > 0) | (scores >= enough)
        outside += bool((counts & (hidden < COVERED)).any())
        inside += bool((hidden >= COVERED).any())
        unsure += bool((~counts).any())
        if with_face[number]:
            known += 1
            seen += bool(len(detector(raw[number])[0]))
    count = max(1, len(numbers))
    return FaceAudit(
        frames=len(numbers),
        residual_rate=outside / count,
        inside=inside / count,
        sensitivity=seen / known if known else None,
        unsure=unsure / count,
    )


def hits_covered(hits: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Share of each hit [N, 4] that the regions cover, overlaps counted once: [N] in 0..1."""
    shares = np.zeros(len(hits))
    for number, hit in enumerate(geometry.snap(hits, 1, 1 << 15, 1 << 15) if len(hits) else hits):
        left, top, right, bottom = (int(value) for value in hit)
        grid = np.zeros((bottom - top, right - left), dtype=bool)
        for x0, y0, x1, y1 in regions:
            grid[max(0, y0 - top) : max(0, y1 - top), max(0, x0 - left) : max(0, x1 - left)] = True
        shares[number] = grid.mean()
    return shares
