"""A pool of spawned processes that load one task after another; a dead one is named and replaced.

Spawned, never forked: a fork after native libraries started their threads hangs. The workers ignore the signals that a
batch system sends to every process of a job: the process that started them ends them, and they end with it.
"""

import atexit
import contextlib
import multiprocessing
import pickle
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

from deemo_dist.console import logger
from deemo_dist.dataset import transport
from deemo_dist.dataset.worker import DEPTH, Work, serve
from deemo_dist.errors import DatasetError

Task = TypeVar("Task")
Result = TypeVar("Result")
TRIES = 3
GRACE_SECONDS = 5.0


@dataclass(eq=False)
class _Job(Generic[Task, Result]):
    """A task, what it is called in messages, its future result, and how often it ended its worker."""

    task: Task
    name: str
    future: "Future[Result]"
    deaths: int = 0


@dataclass(eq=False)
class _Child(Generic[Task, Result]):
    """A worker process, our end of its pipe, and its jobs: the first is being done, the next one's media are read."""

    process: SpawnProcess
    pipe: Connection
    jobs: deque[_Job[Task, Result]] = field(default_factory=deque)


class Workers(Generic[Task, Result]):
    """``count`` processes that do ``work``, which must be picklable; arrays and tensors come by shared memory.

    A worker that dies (killed, out of memory) is named in the log and replaced, and what it was doing done again: up to
    three times, then that task fails with ``DatasetError``. Errors of ``work`` are those of the future. ``landed`` is
    called on each result in the pool's own thread; its errors are the future's too. Should that thread end (no process
    can be started, say), every task there is or comes fails with ``DatasetError``: nobody waits for it.
    """

    def __init__(
        self, work: Work[Task, Any, Result], count: int, *, landed: Callable[[Result], Result] = lambda result: result
    ) -> None:
        """Raises ``DatasetError`` when ``work`` cannot be sent to another process."""
        try:
            self._work = pickle.dumps(work)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise DatasetError(
                f"a loader's worker process cannot be given its work: {error}",
                hint="make the processor picklable, or set engine.loader_kind=thread",
            ) from None
        self._landed = landed
        self._open: set[Future[Result]] = set()
        self._waiting: deque[_Job[Task, Result]] = deque()
        self._children: list[_Child[Task, Result] | None] = [None] * count
        self._lock = threading.Lock()
        self._stopping = False
        self._broken: DatasetError | None = None
        self._wake, self._woken = multiprocessing.Pipe()
        self._thread = threading.Thread(target=self._run, name="deemo-loader", daemon=True)
        self._thread.start()
        atexit.register(self.shutdown)  # before multiprocessing's own end, which would ask with a signal they ignore

    def submit(self, task: Task, name: str) -> "Future[Result]":
        """Have ``task`` done; ``name`` is how messages call it."""
        future: Future[Result] = Future()
        with self._lock:
            if self._broken is not None:
                future.set_exception(self._broken)
                return future
            self._open.add(future)
            future.add_done_callback(self._open.discard)
            self._waiting.append(_Job(task, name, future))
        self._wake.send_bytes(b"1")
        return future

    def shutdown(self) -> None:
        """End all workers now, whatever they do: results not yet there are cancelled. Once is enough."""
        atexit.unregister(self.shutdown)
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
            children = [child for child in self._children if child is not None]
        for child in children:
            if child.jobs:
                child.process.kill()  # first: should the thread be waiting for one of them, it goes on
        self._wake.send_bytes(b"0")
        self._thread.join()
        for child in children:
            child.pipe.close()
        for child in children:
            child.process.join(GRACE_SECONDS)
            if child.process.is_alive():
                child.process.kill()
            child.process.join()
        for future in list(self._open):
            future.cancel()
        self._wake.close()
        self._woken.close()

    def _run(self) -> None:
        """The thread: serve, and fail whatever is open where that cannot go on."""
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            logger.exception("the loader's own thread ended")
            message = f"the loader cannot go on: {type(error).__name__}: {error}"
            with self._lock:
                self._broken = DatasetError(message, hint="its log says where it ended")
                futures = list(self._open)
            for future in futures:
                _settle(future, error=self._broken)

    def _serve(self) -> None:
        """The thread that gives out tasks and takes results, until :meth:`shutdown`."""
        while not self._stopping:
            self._give()
            alive = {place: child for place, child in enumerate(self._children) if child is not None}
            ends = [end for child in alive.values() for end in (child.pipe, child.process.sentinel)]
            ready = wait([*ends, self._woken])
            if self._woken in ready:
                self._woken.recv_bytes()
            for place, child in alive.items():
                if not self._stopping and (child.pipe in ready or child.process.sentinel in ready):
                    self._take(place, child)

    def _give(self) -> None:
        """Waiting tasks to the workers: one each first, then one more each, whose media are read meanwhile."""
        for depth in range(DEPTH):
            for place in range(len(self._children)):
                with self._lock:
                    if not self._waiting or self._stopping:
                        return
                    child = self._children[place] or self._start(place)
                    if len(child.jobs) > depth:
                        continue
                    job = self._waiting.popleft()
                    child.jobs.append(job)
                self._send(child, job)

    def _send(self, child: _Child[Task, Result], job: _Job[Task, Result]) -> None:
        try:
            transport.send(child.pipe, job.task)
        except OSError:  # dead: its sentinel says so
            return
        except Exception as error:  # noqa: BLE001 - of the task's pickling: nothing was sent
            child.jobs.remove(job)
            _settle(job.future, error=DatasetError(f"{job.name} cannot be sent to a loader's worker: {error}"))

    def _start(self, place: int) -> _Child[Task, Result]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self._work), name=f"deemo-loader-{place}", daemon=True)
        process.start()
        theirs.close()
        child: _Child[Task, Result] = _Child(process=process, pipe=ours)
        self._children[place] = child
        return child

    def _take(self, place: int, child: _Child[Task, Result]) -> None:
        """A result, or a worker's death."""
        try:
            answer = transport.receive(child.pipe) if child.pipe.poll() else None
        except (EOFError, OSError):
            answer = None
        except DatasetError as unreadable:
            answer = None, unreadable
        if answer is None:
            self._bury(place, child)
            return
        job = child.jobs.popleft()
        result, error = answer
        if error is None:
            try:
                result = self._landed(result)
            except Exception as failed:  # noqa: BLE001 - handed to the caller
                error = failed
        _settle(job.future, result, error)

    def _bury(self, place: int, child: _Child[Task, Result]) -> None:
        """Name a dead worker and put its jobs back in front; the next task starts another in its place."""
        child.pipe.close()
        child.process.join()
        self._children[place] = None
        if self._stopping:
            return
        code = child.process.exitcode or 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        doing = f"while it loaded {child.jobs[0].name}: loaded again by another" if child.jobs else "while it waited"
        logger.warning("loader worker %d (pid %d) died by %s %s", place, child.process.pid or 0, how, doing)
        if child.jobs:
            first = child.jobs[0]
            first.deaths += 1
            if first.deaths >= TRIES:
                child.jobs.popleft()
                message = f"{first.name} ended its loader worker {TRIES} times ({how})"
                _settle(first.future, error=DatasetError(message, hint="is the memory too small for it?"))
        with self._lock:
            self._waiting.extendleft(reversed(child.jobs))


def _settle(future: "Future[Any]", result: Any = None, error: Exception | None = None) -> None:
    """Give a future its end; one that was cancelled meanwhile has it."""
    with contextlib.suppress(InvalidStateError):
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
