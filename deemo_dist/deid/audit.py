"""The audit: a detector that did not mask looks at masked frames, and at the raw ones to show that it can see."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deemo_dist.deid import boxes as geometry
from deemo_dist.deid.detectors import FaceDetector

COVERED = 0.5


@dataclass(frozen=True)
class FaceAudit:
    """``residual_rate``: share of audited frames in which a face lies mostly outside the masked regions. ``inside``:
    share in which one is seen within them (blur, mosaic). ``sensitivity``: share of audited frames with a known face in
    which the audit's detector saw one before masking; None where there was none to see."""

    frames: int
    residual_rate: float
    inside: float
    sensitivity: float | None


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
    outside = inside = seen = known = 0
    for number in numbers:
        hidden = hits_covered(detector(masked[number])[0], regions[number])
        outside += bool((hidden < COVERED).any())
        inside += bool((hidden >= COVERED).any())
        if with_face[number]:
            known += 1
            seen += bool(len(detector(raw[number])[0]))
    count = max(1, len(numbers))
    return FaceAudit(
        frames=len(numbers),
        residual_rate=outside / count,
        inside=inside / count,
        sensitivity=seen / known if known else None,
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
