"""``deemo dataset preview``: some samples of a dataset as one HTML file."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deemo_dist.config import RunConfig
from deemo_dist.console import progress
from deemo_dist.dataset import Dataset, load_member, open_dataset
from deemo_dist.dataset.codec import parse_json
from deemo_dist.errors import CorruptDataError, DatasetError
from deemo_dist.evaluation.preview import Shown, render_preview
from deemo_dist.media import decode_frames
from deemo_dist.records import IndexRow
from deemo_dist.storage import Store, open_store
from pipelines.outputs import check_output

LOOKS = (0.15, 0.5, 0.85)
"""Shares of a clip at which it is looked at."""

LONGEST_SOUND = 3 * 2**20
"""Bytes of sound that a page takes in of one clip: about two minutes. A longer clip is shown without."""


def run_preview(config: RunConfig, *, clips: int, split: str | None, out: Path | None) -> Path:
    """Write the page and return where: ``out``, or ``previews/`` in the run's cache, which an erasure looks through.

    Raises ``DatasetError`` where the dataset is refused or has no sample of the split, ``ConfigError`` where ``out``
    cannot be written.
    """
    if out is not None:
        check_output(out, "--out")
    store = open_store(config.storage)
    dataset = open_dataset(store, config.data.name, config.data.version, allow_weak=config.data.allow_weak_policy)
    rows = spread(dataset.split(split) if split else dataset.index, clips)
    if not rows:
        splits = ", ".join(sorted(set(dataset.index.column("split").to_pylist())))
        raise DatasetError(f"there is no sample of the split '{split}'", hint=f"splits: {splits}")
    shown: list[Shown] = []
    with progress("preview", len(rows), unit="clips") as bar:
        for row in rows:
            shown.append(_shown(row, store, dataset))
            bar.advance()
    info = dataset.info
    facts = {
        "policy": f"{info.header.policy} ({info.header.strength})",
        "samples": f"{len(rows)} of {info.samples}",
        "digest": info.dataset_digest[:12],
    }
    path = out or Path(config.storage.cache) / "previews" / f"{info.name}-{info.version}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_preview(f"Dataset {info.name} {info.version}", facts, shown), encoding="utf-8")
    return path


def spread(rows: Sequence[IndexRow], count: int) -> list[IndexRow]:
    """``count`` rows at equal distances, all where there are no more."""
    numbers = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)) if len(rows) else ()
    return [rows[int(number)] for number in numbers]


def _shown(row: IndexRow, store: Store, dataset: Dataset) -> Shown:
    """Read what the page shows of one sample."""
    kinds = {member.extension: member.size for member in row.members}
    meta = parse_json(load_member(row, store, dataset.prefix, "json"), row.key)
    frames = [min(row.frames - 1, int(share * row.frames)) for share in LOOKS]
    stored = meta.get("frame_times")
    times = [float(stored[at]) if isinstance(stored, list) else at / row.fps for at in frames]
    sound = load_member(row, store, dataset.prefix, "flac") if 0 < kinds.get("flac", 0) <= LONGEST_SOUND else None
    cues = _cues(load_member(row, store, dataset.prefix, "cues.npy"), row.key) if "cues.npy" in kinds else None
    cue_times = meta.get("cue_times")
    return Shown(
        row=row,
        annotation=dataset.annotations.get(row.key),
        stills=list(decode_frames(load_member(row, store, dataset.prefix, "mp4"), np.array(frames))),
        times=times,
        flac=sound,
        cues=cues,
        cue_times=np.asarray(cue_times, np.float64) if isinstance(cue_times, list) and cues is not None else None,
    )


def _cues(data: bytes, key: str) -> np.ndarray:
    try:
        return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))
    except ValueError:
        raise CorruptDataError(f"the body cues of sample {key} cannot be read") from None
