"""Coverage of true face boxes by the opaque fill, read off the released pixels themselves.

Boxes come from a CSV file with the columns clip, frame, x0, y0, x1, y1: the clip's file name, its frame counted from 0
(of the file that is in the manifest: boxes of a film that clips were cut out of have other numbers), pixels as a viewer
sees them.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from deemo_dist.deid import geometry
from deemo_dist.deid.audit.statistics import upper_bound
from deemo_dist.deid.faces import masking
from deemo_dist.errors import DatasetError

NEAR = 12
ENOUGH = 0.95
COLUMNS = ("clip", "frame", "x0", "y0", "x1", "y1")

Boxes = Mapping[str, Mapping[int, np.ndarray]]
"""True boxes float64 [N, 4] by clip's file name and frame."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Of ``boxes`` true boxes: the ``least`` and the ``mean`` share covered, and how many are under 95 %. ``bound``:
    the share of uncovered faces that may still be there, at 95 %, where none was found among so many boxes; frames of
    one clip resemble each other, so it is the most hopeful bound."""

    boxes: int
    least: float
    mean: float
    under: int
    bound: float


def read_boxes(text: str, where: str) -> Boxes:
    """Parse a boxes file. Raises ``DatasetError`` that names the line."""
    rows = csv.DictReader(io.StringIO(text))
    if not set(COLUMNS) <= set(rows.fieldnames or ()):
        raise DatasetError(f"{where}: no boxes file", hint=f"the first line names its columns: {','.join(COLUMNS)}")
    found: dict[str, dict[int, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        try:
            box = [float(row[name]) for name in COLUMNS[2:]]
            frame = int(row["frame"])
        except (TypeError, ValueError):
            raise DatasetError(f"{where}, line {rows.line_num}: not a frame and four numbers") from None
        if frame < 0 or box[2] <= box[0] or box[3] <= box[1] or not np.isfinite(box).all():
            raise DatasetError(f"{where}, line {rows.line_num}: an empty box, or a frame before the first")
        found[row["clip"]][frame].append(box)
    return {clip: {frame: np.array(boxes) for frame, boxes in frames.items()} for clip, frames in found.items()}


def filled(frame: np.ndarray) -> np.ndarray:
    """Where a released frame (uint8 [H, W, 3]) shows the fill, within what an encoder does to it: bool [H, W]."""
    near = np.abs(frame.astype(np.int16) - np.array(masking.FILL, dtype=np.int16)) <= NEAR
    return np.asarray(near.all(axis=-1))


def covered(box: np.ndarray, opaque: np.ndarray) -> float:
    """Share of ``box`` [4], cut to the frame, that is ``opaque`` (bool [H, W]): 0..1; 1 for a box outside."""
    inside = geometry.snap(box, 1, opaque.shape[1], opaque.shape[0])
    if not len(inside):
        return 1.0
    left, top, right, bottom = inside[0]
    return float(opaque[top:bottom, left:right].mean())


def coverage(shares: Iterable[float]) -> Coverage | None:
    """Over all boxes; None without any."""
    found = np.array(list(shares), dtype=np.float64)
    if not len(found):
        return None
    return Coverage(
        boxes=len(found),
        least=float(found.min()),
        mean=float(found.mean()),
        under=int((found < ENOUGH).sum()),
        bound=upper_bound(len(found)),
    )
