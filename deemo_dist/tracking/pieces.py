"""Pieces of segments: how what waits is cut for the run's storage, and the notes of what is there.

A piece is a segment by itself: the header and lines that follow each other in the segment it was cut from. Its name
tells where in the segment they begin, so that of two objects of one name the longer one begins with the shorter one.
"""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from deemo_dist.tracking.segment import SPOOL_VERSION, line_of
from deemo_dist.tracking.spool import NOTE, header_of, is_legible

PIECE_BYTES = 4 * 2**20
"""A piece that is as long as this is not written again: the next lines begin another one."""
COPIES = "files"
_NAME = re.compile(r"(?P<stem>.+)\.p(?P<start>\d{12})\.(?P<stream>facts|files)\.jsonl")
_HERE = "folder"
"""What a header says of the machine alone: it is of no use elsewhere."""
Span = tuple[int, int]


def piece_name(segment: Path, start: int) -> str:
    """The name of the piece of ``segment`` that begins at offset ``start``."""
    stem, stream, suffix = segment.name.rsplit(".", 2)
    return f"{stem}.p{start:012d}.{stream}.{suffix}"


def origin(name: str) -> tuple[str, int, str] | None:
    """The segment's name, the offset and the stream that a piece's name tells; None where it is no piece."""
    found = _NAME.fullmatch(name)
    return (f"{found['stem']}.{found['stream']}.jsonl", int(found["start"]), found["stream"]) if found else None


def piece_header(header: dict[str, Any]) -> bytes:
    """The first line of a piece of a segment with ``header``: the same bytes whenever it is written."""
    return line_of({name: value for name, value in header.items() if name != _HERE})


def is_known(data: bytes) -> bool:
    """Whether a piece has a header, of a version that is known here."""
    return is_legible(header_of(data.partition(b"\n")[0] + b"\n"))


def lines_from(path: Path, start: int, limit: int) -> bytes:
    """Whole lines of a segment from ``start``, until there are ``limit`` bytes: one line at least, if there is one."""
    found = bytearray()
    with path.open("rb") as file:
        file.seek(start)
        while len(found) < limit and (line := file.readline()).endswith(b"\n"):
            found += line
    return bytes(found)


def copies_in(lines: bytes) -> Iterator[str]:
    """The spool's own copies of files, ``files/ID/NAME``, that lines of a segment refer to."""
    for line in lines.splitlines() if b'"copied"' in lines else ():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("copied") and is_copy(str(event.get("path"))):
            yield event["path"]


def is_copy(path: str) -> bool:
    """Whether a path is that of a copy in the spool and leads nowhere else."""
    parts = PurePosixPath(path).parts
    return len(parts) == 3 and parts[0] == COPIES and not {".", ".."} & set(parts)


def read_note(segment: Path) -> list[Span]:
    """The pieces of a segment that the run's storage holds, by their first and last offsets; empty without a note."""
    try:
        pieces = json.loads(segment.with_suffix(NOTE).read_text())["pieces"]
        return sorted((int(start), int(end)) for start, end in pieces)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def write_note(segment: Path, pieces: list[Span]) -> None:
    """Note which pieces of a segment the run's storage holds; without any, the note goes. Atomic."""
    note = segment.with_suffix(NOTE)
    if not pieces:
        note.unlink(missing_ok=True)
        return
    temporary = note.with_suffix(f".{uuid.uuid4().hex[:8]}.tmp")
    temporary.write_text(json.dumps({"v": SPOOL_VERSION, "pieces": sorted(pieces)}))
    temporary.replace(note)
