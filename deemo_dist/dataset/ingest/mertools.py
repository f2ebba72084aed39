"""MERTools' layout (github.com/zeroQiaoba/MERTools, MER2025 and like): ``video/NAME.mp4`` and CSV files by ``name``.

``track1_*.csv`` holds ``discrete`` (and ``valence``), ``track2_*.csv`` ``openset``, ``track3_*.csv`` ``reason``,
``subtitle*.csv`` ``english`` and ``chinese``. Subjects are not in the set: every clip counts as its own. Where there is
only Chinese, preprocessing leaves the transcript out: it cannot tell the names in it.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deemo_dist.config import StorageConfig
from deemo_dist.dataset.ingest.rows import clip_from_row, collect, is_file
from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip

LABELS = {"discrete": "emotion"}
TEXTS = {"valence": "valence", "openset": "openset", "reason": "reasoning"}
EXTENSIONS = (".mp4", ".avi", ".mkv")


def is_mertools(folder: Path) -> bool:
    """Whether a folder is laid out as MERTools does: ``video/`` and ``track*.csv``."""
    return (folder / "video").is_dir() and bool(_tables(folder))


def import_mertools(folder: Path, config: StorageConfig) -> list[Clip]:
    """Clips of a folder in MERTools' layout that a track's CSV names, in the order they are first named.

    Files with ``test`` in their name give the split test, others train. Raises ``DatasetError`` that names file and
    line of each row without a name, without its video, or that contradicts an earlier one.
    """
    said = _transcripts(folder)
    rows: dict[str, dict[str, Any]] = {}
    first: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for table in _tables(folder):
        for line, values in _rows(table):
            name = values.get("name", "")
            if name not in rows:
                rows[name] = _new_row(folder, name, "test" if "test" in table.stem else "train", said.get(name))
                first[str(table)].append((line, name))
            _add(rows[name], values, f"{table}:{line}")
    clips: list[Clip] = []
    for where, names in first.items():
        clips += collect(
            names, lambda name: clip_from_row(rows[name], str(folder.resolve()), config, source="mertools"), where
        )
    return clips


def _tables(folder: Path) -> list[Path]:
    """The tracks' CSV files: those with answers, not the list of candidates."""
    return sorted(path for path in folder.glob("track[0-9]_*.csv") if "candidate" not in path.stem)


def _new_row(folder: Path, name: str, split: str, transcript: str | None) -> dict[str, Any]:
    """A clip's fields before its labels."""
    names = [f"video/{name}{extension}" for extension in EXTENSIONS]
    found = next((video for video in names if is_file(folder / video)), names[0])
    return {
        "uri": found if name else "",
        "subject": name,
        "split": split,
        "transcript": transcript,
        "labels": {},
        "texts": {},
    }


def _add(row: dict[str, Any], values: dict[str, str], where: str) -> None:
    """Take a table's labels and texts into a clip's row."""
    for field, names in (("labels", LABELS), ("texts", TEXTS)):
        for column, name in names.items():
            value = values.get(column, "")
            if value and row[field].setdefault(name, value) != value:
                raise DatasetError(f"{where}: {column} is '{value}', another row says '{row[field][name]}'")


def _transcripts(folder: Path) -> dict[str, str]:
    """Transcripts by name: English where there is one, else Chinese."""
    found: dict[str, str] = {}
    for table in sorted(folder.glob("subtitle*.csv")):
        for _, values in _rows(table):
            text = values.get("english") or values.get("chinese") or values.get("sentence") or ""
            if text and values.get("name"):
                found[values["name"]] = text
    return found


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and the stripped values of a CSV file, UTF-8."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as source:
            reader = csv.DictReader(source)
            if "name" not in (reader.fieldnames or ()):
                raise DatasetError(f"{table}:1: there is no column 'name'")
            for values in reader:
                yield reader.line_num, {key: (value or "").strip() for key, value in values.items() if key}
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DatasetError(f"{table}: cannot be read as CSV ({type(error).__name__})") from None
