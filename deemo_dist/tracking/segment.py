"""The writing side of the spool: a process's own segments, written by threads of their own.

Each process writes its own two segments, one of facts (runs, params, metrics, status) and one of files, so that an
upload that fails never holds back a metric. A line counts once its line feed is written.
"""

import errno
import fcntl
import json
import os
import queue
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from deemo_dist.console import logger

SPOOL_VERSION = 1
STREAMS = ("facts", "files")
_BACKLOG = 10_000


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
        self._header = line_of({"v": SPOOL_VERSION, "kind": "open", **header})
        self._backlog: list[bytes] = [self._header]
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
        """Wait until all events before this call were given to the disk; False when ``timeout`` seconds were over, or
        it does not take them."""
        if self._thread is None or not self._thread.is_alive():
            return True
        written = threading.Event()
        self._queue.put(written)
        return written.wait(timeout) and not self._backlog

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
                self._backlog.append(line_of(item))
                self._write()
        if self._backlog:
            self._write()
        if self._file is not None:
            unlock(self._file)
            os.close(self._file)
            self._file = None

    def _write(self) -> None:
        try:
            if self._file is None:
                self._file = self._opened()
            while self._backlog:
                _write_whole(self._file, self._backlog[0])
                self._backlog.pop(0)
        except OSError as error:
            if not self._warned:
                logger.warning("tracking: the spool %s cannot be written (%s); kept in memory", self.path, error)
                self._warned = True
            del self._backlog[_BACKLOG:]

    def _opened(self) -> int:
        """The segment's file, locked as that of a living writer. One that is new, or was removed since it was closed
        because everything in it was sent, begins with the header."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with suppress(OSError):  # a disk without locks: nobody can tell that the writer is gone, nothing is removed
                fcntl.flock(file, fcntl.LOCK_SH)  # shared: a forked child may hold the lock of an earlier opening
            state = os.fstat(file)
            if state.st_nlink:
                break
            os.close(file)  # it was removed between the opening and the lock
        if state.st_size == 0 and self._header not in self._backlog[:1]:
            self._backlog.insert(0, self._header)
        return file


def unlock(file: int) -> None:
    """Give a lock back, also where a child that was forked meanwhile has the same open file."""
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)


def line_of(event: Mapping[str, Any]) -> bytes:
    """An event as a line of a segment."""
    return json.dumps(event, separators=(",", ":"), default=str).encode() + b"\n"


def _write_whole(file: int, data: bytes) -> None:
    """Write all of ``data``, or nothing: what a full disk took of a line is cut off again, which needs no room."""
    size = os.fstat(file).st_size
    if os.write(file, data) < len(data):
        os.ftruncate(file, size)
        raise OSError(errno.ENOSPC, "the disk took half a line")


def new_segments(directory: Path, header: dict[str, Any]) -> tuple[Segment, Segment]:
    """This process's segments of facts and of files; their files appear with the first event. Their header says when
    they were ``opened``: of two lives of a run the one that was opened later has the last word."""
    opened = time.time_ns()
    stem = f"{opened:020d}-{socket.gethostname()[:24]}-{os.getpid()}"
    dated = {"opened": opened, **header}
    facts, files = (Segment(directory / f"{stem}.{stream}.jsonl", dated) for stream in STREAMS)
    return facts, files
