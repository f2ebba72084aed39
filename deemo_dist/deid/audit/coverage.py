"""Coverage of true face boxes by the opaque fill, read off the released pixels themselves.

Boxes come from a CSV file with the columns clip, frame, x0, y0, x1, y1: the clip's file name (with or without its
ending, with folders before it where several clips share it), its frame counted from 0 (of the file that is in the
manifest: boxes of a film that clips were cut out of have other numbers), pixels as a viewer sees them.
"""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from deemo_dist.deid import geometry
from deemo_dist.deid.audit.statistics import upper_bound
from deemo_dist.deid.faces import masking
from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip, IndexRow

NEAR = 12
ENOUGH = 0.95
COLUMNS = ("clip", "frame", "x0", "y0", "x1", "y1")

Boxes = Mapping[str, Mapping[int, np.ndarray]]
"""True boxes float64 [N, 4] by clip's file name, or its sample's key, and frame."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Of ``boxes`` true boxes: the ``least`` and the ``mean`` share covered (not numbers without any), and how many are
    under 95 %. ``bound``: the share of uncovered faces that may still be there, at 95 %, where none was found among so
    many boxes; frames of one clip resemble each other, so it is the most hopeful bound. ``unseen``: further boxes, of
    clips that were not looked at."""

    boxes: int
    least: float
    mean: float
    under: int
    bound: float
    unseen: int = 0


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
        clip = (row["clip"] or "").strip()
        if not clip:
            raise DatasetError(f"{where}, line {rows.line_num}: no clip", hint="every box has its clip's file name")
        if frame < 0 or box[2] <= box[0] or box[3] <= box[1] or not np.isfinite(box).all():
            raise DatasetError(f"{where}, line {rows.line_num}: an empty box, or a frame before the first")
        found[clip][frame].append(box)
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


def coverage(shares: Iterable[float], given: int = 0) -> Coverage | None:
    """Over all boxes that were looked at, of so many ``given``; None without any."""
    found = np.array(list(shares), dtype=np.float64)
    if not len(found) and not given:
        return None
    least, mean = (float(found.min()), float(found.mean())) if len(found) else (float("nan"), float("nan"))
    return Coverage(
        boxes=len(found),
        least=least,
        mean=mean,
        under=int((found < ENOUGH).sum()),
        bound=upper_bound(len(found)),
        unseen=max(0, given - len(found)),
    )


def boxes_by_key(boxes: Boxes, clips: Mapping[str, Clip], rows: Iterable[IndexRow]) -> Boxes:
    """True boxes by sample key and frame: ``clips`` of the manifest by key, ``rows`` of their samples.

    Raises ``DatasetError`` for a name that no clip of the manifest has, or several, or that comes twice, and for a box
    after its sample's last frame or outside of its picture. Names nobody.
    """
    if boxes and not clips:
        raise DatasetError("true boxes are of raw clips", hint="name their manifest too: --raw MANIFEST")
    owners = _owners(boxes, clips)
    _refuse("stand for no clip of the manifest", sum(not keys for keys in owners.values()))
    _refuse("stand for several clips of the manifest", sum(len(keys) > 1 for keys in owners.values()))
    counts = Counter(key for (key,) in owners.values())
    _refuse("stand for a clip that another name stands for", sum(counts[key] > 1 for (key,) in owners.values()))
    found = {key: boxes[name] for name, (key,) in owners.items()}
    for row in rows:
        _fits(row, found.get(row.key, {}))
    return found


def _owners(names: Iterable[str], clips: Mapping[str, Clip]) -> dict[str, list[str]]:
    """By name the keys of the clips whose address ends on it, or, where none does, on it and an ending."""
    by_file: dict[str, list[str]] = defaultdict(list)
    for key, clip in clips.items():
        file = clip.uri.rpartition("/")[2]
        for name in {file, file.rpartition(".")[0] or file}:
            by_file[name].append(key)
    found = {}
    for name in names:
        same = by_file.get(name.rpartition("/")[2], [])
        whole = [key for key in same if f"/{clips[key].uri}".endswith(f"/{name}")]
        found[name] = whole or [key for key in same if f"/{clips[key].uri.rpartition('.')[0]}".endswith(f"/{name}")]
    return found


def _refuse(fault: str, names: int) -> None:
    if names:
        raise DatasetError(
            f"{names} of the clip names in the boxes file {fault}",
            hint="a clip's file name, and its folders before it where several share it",
        )


def _fits(row: IndexRow, boxes: Mapping[int, np.ndarray]) -> None:
    """Raises ``DatasetError`` where these are not boxes of the sample's pictures."""
    last = max(boxes, default=-1)
    if last >= row.frames:
        raise DatasetError(
            f"the boxes file has a box in frame {last} of sample {row.key}, which has {row.frames} frames",
            hint="frames are counted from 0, in the file that is in the manifest",
        )
    for frame, found in boxes.items():
        if any(not len(geometry.snap(box, 1, row.width, row.height)) for box in found):
            raise DatasetError(
                f"the boxes file has a box outside of frame {frame} of sample {row.key}, {row.width} x {row.height}",
                hint="boxes are in pixels of the file that is in the manifest, as a viewer shows it",
            )
