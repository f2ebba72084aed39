"""Checking rows that people wrote, so that every bad one is named by file and line."""

import dataclasses
import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from deemo_dist.config import StorageConfig
from deemo_dist.dataset.ingest.splits import SplitOf
from deemo_dist.errors import ConfigError, DatasetError, StorageError
from deemo_dist.records import Clip, NfblEvent

SPLITS = ("train", "validation", "test")
SHOWN = 10
SCHEMES = ("file", "s3")
MOST_BYTES = 2**63 - 1
"""The largest number in a manifest's column."""


class BadRowError(ValueError):
    """One row cannot become a clip; the message says why."""


def collect(rows: Iterable[tuple[int, Any]], make: Callable[[Any], Clip], where: str) -> list[Clip]:
    """Make a clip of each (line, row). Raises ``DatasetError`` that names file, line and fault of every bad row: of one
    too whose subject is in another split, or whose clip was named before."""
    clips: list[Clip] = []
    bad: list[str] = []
    lines: dict[str, int] = {}
    splits = SplitOf()
    for line, row in rows:
        try:
            clip = make(row)
            if clip.uri in lines:
                raise BadRowError(f"the same clip as line {lines[clip.uri]}")
            if other := splits.elsewhere(clip, line):
                there, before = other
                raise BadRowError(f"split '{clip.split}', but its subject is in '{there}' by line {before}")
        except BadRowError as error:
            bad.append(f"{where}:{line}: {error}")
            continue
        lines[clip.uri] = line
        clips.append(clip)
    if bad:
        more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise DatasetError("; ".join(bad[:SHOWN]) + more, hint=f"{len(bad)} bad rows: correct or remove them")
    return clips


def clip_from_row(row: Any, base: str, config: StorageConfig, *, source: str) -> Clip:
    """A clip of a mapping with the fields of ``records.Clip``; ``uri`` may be relative to ``base``.

    ``source`` and ``size_bytes`` may be left out. Raises ``BadRowError``.
    """
    if not isinstance(row, Mapping):
        raise BadRowError("not a JSON object")
    names = [field.name for field in dataclasses.fields(Clip)]
    for name in row:
        if name not in names:
            close = difflib.get_close_matches(str(name), names, n=1)
            shown = str(name).encode(errors="backslashreplace").decode()
            raise BadRowError(f"there is no field '{shown}'" + (f", did you mean '{close[0]}'?" if close else ""))
    _refuse_unwritable(row)
    uri = _checked_uri(absolute(_refuse_nul(_text(row, "uri")), base))
    split = _text(row, "split")
    if split not in SPLITS:
        raise BadRowError(f"split '{split}' is not one of {', '.join(SPLITS)}")
    return Clip(
        uri=uri,
        subject=_text(row, "subject"),
        split=split,
        source=_text(row, "source", source),
        size_bytes=_size(row.get("size_bytes"), uri, config),
        transcript=_optional_text(row, "transcript"),
        subgroup=_texts(row, "subgroup"),
        labels=_texts(row, "labels"),
        texts=_texts(row, "texts"),
        nfbl=_events(row.get("nfbl")),
    )


def absolute(uri: str, base: str) -> str:
    """``uri`` against ``base``, the file:// or s3:// folder it stands in."""
    if "://" in uri:
        return uri
    if base.startswith("s3://"):
        return f"{base.rstrip('/')}/{uri}"
    return f"file://{(Path(base.removeprefix('file://')) / uri).resolve()}"


def _refuse_unwritable(row: Mapping[str, Any]) -> None:
    """Half a character, which JSON can spell and UTF-8 cannot, and what is nested too deeply to be written."""
    for name, value in row.items():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise BadRowError(f"'{name}' holds half a character (a surrogate without its other)") from None
        except (RecursionError, ValueError, TypeError):
            raise BadRowError(f"'{name}' is not plain JSON") from None


def _refuse_nul(uri: str) -> str:
    if "\0" in uri:
        raise BadRowError("'uri' holds a NUL")
    return uri


def _checked_uri(uri: str) -> str:
    """A URI of a kind that clips are fetched by."""
    scheme, _, rest = uri.partition("://")
    if scheme not in SCHEMES:
        raise BadRowError(f"clips are not fetched by {scheme}://: use file:// or s3://")
    if scheme == "s3" and not all(rest.partition("/")[::2]):
        raise BadRowError("'uri' names no object: write s3://BUCKET/KEY")
    return uri


def _text(row: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = row.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or not value.strip():
        raise BadRowError(f"'{name}' is missing or not a text")
    return value


def _optional_text(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRowError(f"'{name}' is not a text")
    return value


def _texts(row: Mapping[str, Any], name: str) -> dict[str, str]:
    value = row.get(name) or {}
    if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
        raise BadRowError(f"'{name}' is not a mapping of names to texts")
    return dict(value)


def _events(value: Any) -> tuple[NfblEvent, ...]:
    """NFBL events; times in seconds from the clip's start."""
    if not value:
        return ()
    try:
        events = tuple(NfblEvent(start=float(e["start"]), end=float(e["end"]), type=str(e["type"])) for e in value)
    except (TypeError, KeyError, ValueError, OverflowError):
        raise BadRowError("'nfbl' is not a list of {start, end, type}") from None
    for event in events:
        if not 0 <= event.start <= event.end < float("inf"):
            raise BadRowError(f"'nfbl': {event.start} to {event.end} is not a span of seconds")
    return events


def _size(given: Any, uri: str, config: StorageConfig) -> int:
    """Bytes of a clip: as given, else looked up. A clip that is not there is a bad row."""
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= MOST_BYTES:
        return given
    if given is not None:
        raise BadRowError("'size_bytes' is not a number of bytes")
    if uri.startswith("file://"):
        bare = uri.removeprefix("file://")
        path = Path(bare) if is_file(Path(bare)) else Path(unquote(bare))
        if not is_file(path):
            raise BadRowError("its file does not exist")
        return path.stat().st_size
    return _size_in_store(uri, config)


def is_file(path: Path) -> bool:
    """Whether a file is there. A name that no file can have is of none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _size_in_store(uri: str, config: StorageConfig) -> int:
    from deemo_dist.storage import open_store

    root, _, name = uri.rpartition("/")
    try:
        return open_store(dataclasses.replace(config, root=root)).size(name)
    except (StorageError, ConfigError) as error:
        raise BadRowError(error.message) from None
