"""Workers as spawned processes of this machine, a pipe to each.

Spawned, never forked: a fork after native libraries started their threads hangs. Workers ignore Ctrl-C, which a
terminal sends to the whole group: the calling process ends them, and the kernel does when it is killed.
"""

import contextlib
import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any

from deemo_dist.config import ExecutionConfig
from deemo_dist.errors import DeemoError, StalledError
from deemo_dist.execution.tries import Tries
from deemo_dist.execution.work import Outcome, Worker

GRACE_SECONDS = 5.0
LONGEST_WAIT = 60.0
_PR_SET_PDEATHSIG = 1


@dataclass
class _Child:
    """A worker process, our end of its pipe, and the unit it works on, at first its start."""

    process: SpawnProcess
    pipe: Connection
    unit: int | None = None


def run_locally(
    tries: Tries[Any],
    factory: Callable[[], Callable[[Any], Any]],
    config: ExecutionConfig,
    on_result: Callable[[Any, Any], None],
) -> None:
    """See :func:`deemo_dist.execution.run`."""
    children: list[_Child] = []
    try:
        while tries.open:
            _employ(children, tries, factory, config.workers)
            ends = [end for child in children for end in (child.pipe, child.process.sentinel)]
            ready = wait(ends, timeout=tries.patience(LONGEST_WAIT))
            for child in [c for c in children if c.pipe in ready or c.process.sentinel in ready]:
                outcome = _receive(child)
                if outcome is None:
                    _bury(child, children, tries)
                    continue
                number, child.unit = child.unit, None
                assert number is not None
                if isinstance(outcome.error, StalledError) and number >= 0:
                    tries.stalled(number, outcome.error)
                elif outcome.error is not None:
                    raise outcome.error
                elif number < 0:
                    tries.started(number)
                else:
                    on_result(tries.done(number), outcome.result)
            _end_hung(children, tries)
    finally:
        _end(children)


def _employ(
    children: list[_Child], tries: Tries[Any], factory: Callable[[], Callable[[Any], Any]], workers: int
) -> None:
    """Give waiting units to idle workers, starting new ones up to ``workers`` for the rest."""
    for child in [child for child in children if child.unit is None]:
        if (number := tries.take()) is None:
            return
        child.unit = number
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # dead: its pipe's end is seen by wait
            child.pipe.send(tries.units[number])
    starting = sum(child.unit is not None and child.unit < 0 for child in children)
    for _ in range(min(len(tries.waiting) - starting, workers - len(children))):
        children.append(_start(factory, tries.start()))


def _start(factory: Callable[[], Callable[[Any], Any]], number: int) -> _Child:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, factory, os.getpid()), name="deemo-worker")
    process.start()
    theirs.close()
    return _Child(process=process, pipe=ours, unit=number)


def _receive(child: _Child) -> Outcome | None:
    """What the worker sent; None when it died (its pipe may still be held open by a process it started)."""
    try:
        return child.pipe.recv() if child.pipe.poll() else None
    except (EOFError, OSError):
        return None


def _bury(child: _Child, children: list[_Child], tries: Tries[Any]) -> None:
    """Take a dead worker out, and put its unit back."""
    children.remove(child)
    child.pipe.close()
    child.process.join()
    if child.unit is not None:
        code = child.process.exitcode or 0
        tries.lost(child.unit, f"signal {-code}" if code < 0 else f"exit code {code}")


def _end_hung(children: list[_Child], tries: Tries[Any]) -> None:
    """Kill the workers whose unit has taken too long, stopped ones too, and put those units back."""
    for number in tries.overdue():
        child = next(child for child in children if child.unit == number)
        children.remove(child)
        child.process.kill()
        child.process.join()
        child.pipe.close()
        tries.hung(number)


def _end(children: list[_Child]) -> None:
    """End all workers: asked first, then told, then killed."""
    for child in children:
        child.pipe.close()
        if child.unit is not None:
            child.process.terminate()
    for child in children:
        child.process.join(GRACE_SECONDS)
        if child.process.is_alive():
            child.process.kill()
            child.process.join()


def _serve(pipe: Connection, factory: Callable[[], Callable[[Any], Any]], parent: int) -> None:
    """The worker process: ready, then units in and outcomes out until the pipe closes or its caller dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    _leave_with(parent)
    worker = Worker(factory)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        pipe.send(worker.prepare())
        while True:
            outcome = worker.attempt(pipe.recv())
            try:
                pipe.send(outcome)
            except (pickle.PicklingError, AttributeError, TypeError):
                kind = type(outcome.result).__name__
                pipe.send(Outcome(error=DeemoError(f"a worker's result of type {kind} cannot be sent to its caller")))


def _leave_with(parent: int) -> None:
    """Have the kernel send SIGTERM when ``parent`` dies, by ``kill -9`` too: nobody works for one that is gone."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)


def _leave(number: int, frame: FrameType | None) -> None:
    """SIGTERM: leave by an exception, so that open contexts (temporary files, children) close."""
    sys.exit(128 + number)
