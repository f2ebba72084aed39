"""The spool: JSON lines on disk that hold whatever the server did not take yet.

A sender reads segments in the order of their names (time of opening) and notes beside each how many bytes were taken. A
segment of which all was taken, and that no living process writes, is removed.
"""

import fcntl
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deemo_dist.console import logger
from deemo_dist.tracking.segment import SPOOL_VERSION, STREAMS, unlock

_CHUNK = 1 << 20
NOTE = ".carried"
"""Ends the name of the note beside a segment of which the run's storage holds something (``pieces``)."""


@dataclass(frozen=True)
class Entry:
    """One event of a segment and the offsets in bytes of its line; ``event`` is None for a line that is no JSON."""

    event: dict[str, Any] | None
    start: int
    end: int


class Reader:
    """Reads what of a segment was not taken yet. State: ``SEGMENT.sent`` beside it, with the offset before which all
    was taken but the lines ``held``, given by their starts: those let others go first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path.with_suffix(".sent")
        self.offset, self.held = self._taken()

    def _taken(self) -> tuple[int, frozenset[int]]:
        try:
            state = json.loads(self.state.read_text())
            return int(state["bytes"]), frozenset(map(int, state.get("held", ())))
        except FileNotFoundError:
            return 0, frozenset()
        except (ValueError, KeyError, TypeError):
            logger.warning("tracking: %s is damaged; its segment is sent again (this is harmless)", self.state.name)
            return 0, frozenset()

    def header(self) -> dict[str, Any] | None:
        """The segment's first line, None when it is not there yet or damaged."""
        with self.path.open("rb") as file:
            return header_of(file.readline())

    def entries(self, limit: int) -> list[Entry]:
        """The events that were held, and the next ones, ``limit`` at most."""
        found: list[Entry] = []
        with self.path.open("rb") as file:
            for start in sorted(self.held):
                file.seek(start)
                if entry := _parse(file.readline(), start):
                    found.append(entry)
            position = file.seek(self.offset)
            limit += len(found)
            while len(found) < limit and (entry := _parse(file.readline(), position)):
                position = entry.end
                found.append(entry)
        return found

    def text(self, entry: Entry) -> str:
        """An entry's line as it stands in the segment."""
        with self.path.open("rb") as file:
            file.seek(entry.start)
            return file.read(entry.end - entry.start).decode(errors="replace").removesuffix("\n")

    def pending(self) -> int:
        """Number of lines not taken, the header left out."""
        count = 0
        with self.path.open("rb") as file:
            file.seek(self.offset)
            while chunk := file.read(_CHUNK):
                count += chunk.count(b"\n")
        return count + len(self.held) - (1 if self.offset == 0 and count else 0)

    @property
    def first(self) -> int:
        """Where the first line begins that was not taken yet."""
        return min((self.offset, *self.held))

    @property
    def is_done(self) -> bool:
        """Whether everything in the segment was taken; half a line at its end, of a killed writer, never counts."""
        return not self.held and not self.entries(1)

    def is_taken(self, start: int, end: int) -> bool:
        """Whether everything between two offsets was taken."""
        return self.offset >= end and not any(start <= held < end for held in self.held)

    def commit(self, offset: int, held: Iterable[int] = ()) -> None:
        """Note that everything before ``offset`` was taken, but the lines that start at ``held``. Atomic."""
        temporary = self.state.with_suffix(f".{uuid.uuid4().hex[:8]}.tmp")
        kept = frozenset(held)
        temporary.write_text(json.dumps({"v": SPOOL_VERSION, "bytes": offset, "held": sorted(kept)}))
        temporary.replace(self.state)
        self.offset, self.held = offset, kept


def header_of(line: bytes) -> dict[str, Any] | None:
    """A segment's first line as its header, None when it is none."""
    entry = _parse(line, 0)
    return entry.event if entry and entry.event and entry.event.get("kind") == "open" else None


def is_legible(header: dict[str, Any] | None) -> bool:
    """Whether there is a header, of a version that is known here."""
    return header is not None and header.get("v", 0) <= SPOOL_VERSION


def _parse(line: bytes, start: int) -> Entry | None:
    """One line; None at the end of the file or before a line feed was written."""
    if not line.endswith(b"\n"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return Entry(event if isinstance(event, dict) else None, start, start + len(line))


def readers(directory: Path, stream: str) -> list[Reader]:
    """The segments of a stream in the order in which they were opened."""
    return [Reader(path) for path in sorted(directory.glob(f"*.{stream}.jsonl"))]


def pending(directory: Path) -> int:
    """Number of records below ``directory`` that no server took yet."""
    return sum(_pending(reader) for stream in STREAMS for reader in readers(directory, stream))


def _pending(reader: Reader) -> int:
    try:
        return reader.pending()
    except FileNotFoundError:  # another process has sent and removed it meanwhile
        return 0


def shrink(directory: Path, stream: str) -> None:
    """Remove the segments of a stream of which everything was taken. For whoever is ``sending`` it.

    What stays: a segment that a living process writes, one that cannot be read (its lines are nowhere else), and one of
    which the run's storage still holds pieces, which are removed first.
    """
    for reader in readers(directory, stream):
        if not reader.path.with_suffix(NOTE).exists() and reader.is_done:
            _remove(reader)


def _remove(reader: Reader) -> None:
    """Remove a segment that nobody writes. Its note of what was sent goes first: one that stays behind would be taken
    for that of a segment opened again."""
    try:
        file = os.open(reader.path, os.O_RDWR)
    except OSError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if reader.is_done and (is_legible(reader.header()) or not reader.offset):
            reader.state.unlink(missing_ok=True)
            reader.path.unlink()
    except OSError:  # its writer lives, or the disk knows no locks
        return
    finally:
        unlock(file)
        os.close(file)


def was_sent(directory: Path) -> bool:
    """Whether a folder is a spool that somebody has sent: what was in it may be gone, all of it taken."""
    return any(directory.glob("sender.*.lock"))


@contextmanager
def sending(directory: Path, stream: str) -> Iterator[bool]:
    """Hold the lock of a stream of a spool: True when the caller may send it now, False when another one does."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f"sender.{stream}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            unlock(file.fileno())
