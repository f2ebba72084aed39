"""The spool: JSON lines on disk that hold whatever the server did not take yet.

Each process writes its own two segments, one of facts (runs, params, metrics, status) and one of files, so that an
upload that fails never holds back a metric. A sender reads segments in the order of their names (time of opening) and
notes beside each how many bytes were taken. A line counts once its line feed is written.
"""

import json
import os
import queue
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deemo_dist.console import logger

SPOOL_VERSION = 1
STREAMS = ("facts", "files")
_BACKLOG = 10_000
_CHUNK = 1 << 20


class Segment:
    """A segment that this process writes, by a thread of its own.

    ``append`` puts the event into a queue: it neither writes nor gives up the interpreter's lock, so that a training
    step never waits for a disk or for another thread (measured: a direct write cost 4 ms at the 95th percentile of a
    busy machine). ``sync`` waits until everything before it is written; a killed process loses the last milliseconds
    of what was not synced.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self._queue: queue.SimpleQueue[dict[str, Any] | threading.Event | None] = queue.SimpleQueue()
        self._backlog: list[bytes] = [_line({"v": SPOOL_VERSION, "kind": "open", **header})]
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._warned = False
        self._file: int | None = None

    def append(self, event: dict[str, Any]) -> None:
        """Queue one event. A full disk keeps events in memory (10,000 at most) until it takes them. Never raises."""
        if self._thread is None:
            self._start()
        self._queue.put(event)

    def sync(self, timeout: float = 5.0) -> bool:
        """Wait until all events before this call were given to the disk; False when ``timeout`` seconds were over."""
        if self._thread is None or not self._thread.is_alive():
            return True
        written = threading.Event()
        self._queue.put(written)
        return written.wait(timeout)

    @property
    def waiting(self) -> int:
        """Lines that are in memory because the disk refused them."""
        return len(self._backlog) if self._thread else 0

    def close(self) -> None:
        """Write what is left, end the thread and close the file. A later event opens it again."""
        with self._starting:
            if self._thread is not None:
                self._queue.put(None)
                self._thread.join(5.0)
                self._thread = None

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="deemo-spool", daemon=True)
                self._thread.start()

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
            else:
                self._backlog.append(_line(item))
                self._write()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self) -> None:
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            while self._backlog:
                _write_whole(self._file, self._backlog[0])
                self._backlog.pop(0)
        except OSError as error:
            if not self._warned:
                logger.warning("tracking: the spool %s cannot be written (%s); kept in memory", self.path, error)
                self._warned = True
            del self._backlog[_BACKLOG:]


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":"), default=str).encode() + b"\n"


def _write_whole(file: int, data: bytes) -> None:
    """Write all of ``data``; a half-written line is ended so that the next try starts on a line of its own."""
    written = os.write(file, data)
    if written < len(data):
        os.write(file, b"\n")
        raise OSError(28, "the disk took half a line")


def new_segments(directory: Path, header: dict[str, Any]) -> tuple[Segment, Segment]:
    """This process's segments of facts and of files; their files appear with the first event."""
    stem = f"{time.time_ns():020d}-{socket.gethostname()[:24]}-{os.getpid()}"
    facts, files = (Segment(directory / f"{stem}.{stream}.jsonl", header) for stream in STREAMS)
    return facts, files


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
            entry = _parse(file.readline(), 0)
        return entry.event if entry and entry.event and entry.event.get("kind") == "open" else None

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

    def pending(self) -> int:
        """Number of lines not taken, the header left out."""
        count = 0
        with self.path.open("rb") as file:
            file.seek(self.offset)
            while chunk := file.read(_CHUNK):
                count += chunk.count(b"\n")
        return count + len(self.held) - (1 if self.offset == 0 and count else 0)

    def commit(self, offset: int, held: Iterable[int] = ()) -> None:
        """Note that everything before ``offset`` was taken, but the lines that start at ``held``. Atomic."""
        temporary = self.state.with_suffix(f".{uuid.uuid4().hex[:8]}.tmp")
        kept = frozenset(held)
        temporary.write_text(json.dumps({"v": SPOOL_VERSION, "bytes": offset, "held": sorted(kept)}))
        temporary.replace(self.state)
        self.offset, self.held = offset, kept


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
    return sum(reader.pending() for stream in STREAMS for reader in readers(directory, stream))


def reserve_in(directory: Path, name: str, proposal: str) -> str:
    """Put-if-absent in a local folder: the first proposal for ``name`` wins and is returned to everyone."""
    path = directory / "reserved" / name.replace("/", "_")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    temporary.write_text(proposal)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return path.read_text()
    finally:
        temporary.unlink()
    return proposal


@contextmanager
def sending(directory: Path, stream: str) -> Iterator[bool]:
    """Hold the lock of a stream of a spool: True when the caller may send it now, False when another one does."""
    import fcntl

    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f"sender.{stream}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
