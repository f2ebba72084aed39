"""The inside of a loader's worker process: read ahead in a thread, make what is read in the main one, send it."""

import contextlib
import os
import pickle
import signal
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar

from deemo_dist.dataset import transport
from deemo_dist.errors import DatasetError, DeemoError

Task = TypeVar("Task", contravariant=True)
Raw = TypeVar("Raw")
Result = TypeVar("Result", covariant=True)
DEPTH = 2
"""Tasks a worker has: one that it makes, and one whose media it reads meanwhile."""

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


class Work(Protocol[Task, Raw, Result]):
    """What is done with a task, in two parts: one that waits for storage, and one that computes."""

    def read(self, task: Task, /) -> Raw:
        """Fetch what the task needs; called in a thread."""
        ...

    def make(self, task: Task, raw: Raw, /) -> Result:
        """Make the result of what was read."""
        ...


def serve(pipe: Connection, work: bytes) -> None:
    """Tasks in, (result, error) out, in their order, until the pipe closes."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
    with contextlib.suppress(EOFError, OSError), ThreadPoolExecutor(1, thread_name_prefix="deemo-ahead") as ahead:
        made = _rebuilt(work)
        waiting: deque[tuple[Any, Future[Any]]] = deque()
        while True:
            while not waiting or (len(waiting) < DEPTH and pipe.poll()):
                task = transport.receive(pipe)
                waiting.append((task, ahead.submit(_read, made, task)))
            _answer(pipe, _outcome(made, *waiting.popleft()))


def _rebuilt(work: bytes) -> Any:
    """The work, or why it cannot be had here, which then answers every task."""
    try:
        return pickle.loads(work)  # noqa: S301 - of our own parent
    except Exception as error:  # noqa: BLE001 - handed to the caller
        return DatasetError(f"a loader's worker cannot rebuild its work: {type(error).__name__}: {error}")


def _read(work: Any, task: Any) -> Any:
    if isinstance(work, Exception):
        raise work
    return work.read(task)


def _outcome(work: Any, task: Any, raw: "Future[Any]") -> tuple[Any, Exception | None]:
    try:
        found = raw.result()
        return work.make(task, found), None
    except Exception as error:  # noqa: BLE001 - handed to the caller
        return None, _sendable(error)


def _answer(pipe: Connection, outcome: tuple[Any, Exception | None]) -> None:
    try:
        transport.send(pipe, outcome)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        transport.send(pipe, (None, DatasetError(f"a loaded pack cannot be sent to the training process: {error}")))


def _sendable(error: Exception) -> Exception:
    """The error itself where it survives the way, else its words."""
    if isinstance(error, DeemoError):
        return error
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:  # noqa: BLE001 - some exceptions cannot be rebuilt
        return DatasetError(f"{type(error).__name__}: {error}")
    return error
