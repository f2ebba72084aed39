"""The plain importer: a JSONL file beside the clips, one ``records.Clip`` a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deemo_dist.config import StorageConfig
from deemo_dist.dataset.ingest.rows import clip_from_row, collect
from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip

NAMES = ("manifest.jsonl", "clips.jsonl")


def import_folder(folder: Path, config: StorageConfig) -> list[Clip]:
    """Clips of a folder with ``manifest.jsonl`` (or one other .jsonl) in it.

    Raises ``DatasetError`` when there is none or several, and as :func:`import_jsonl`.
    """
    named = [folder / name for name in NAMES if (folder / name).is_file()]
    found = named[:1] or sorted(folder.glob("*.jsonl"))
    if len(found) != 1:
        raise DatasetError(
            f"{folder}: {len(found)} JSONL files describe its clips",
            hint=f"put one there, named {NAMES[0]}: a clip a line with uri, subject, split and what is known",
        )
    return import_jsonl(str(found[0]), config)


def import_jsonl(uri: str, config: StorageConfig) -> list[Clip]:
    """Clips of a JSONL file at a path, file:// or s3:// URI; a relative ``uri`` in it is relative to the file.

    Raises ``DatasetError`` that names file and line of each bad row.
    """
    where = uri.removeprefix("file://")
    base = uri.rsplit("/", 1)[0] if "://" in uri else str(Path(uri).resolve().parent)
    return collect(
        _lines(_text(uri, config)), lambda row: clip_from_row(_parsed(row), base, config, source="folder"), where
    )


def _text(uri: str, config: StorageConfig) -> str:
    """The file's text, UTF-8."""
    try:
        if "://" in uri:
            from deemo_dist.storage import read_uri

            return read_uri(uri, config, label=uri).decode("utf-8-sig")
        return Path(uri).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{uri}: not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise DatasetError(f"{uri}: cannot be read: {error.strerror}") from None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Line numbers from 1, and lines that are not blank. Only newlines end a line: JSON may hold other separators."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def _parsed(line: str) -> Any:
    """A line's JSON, or the row that :func:`clip_from_row` refuses as not being an object."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
