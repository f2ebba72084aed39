"""Ranks on this machine: one process each, that live and die together."""

import os
import selectors
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from deemo_dist.console import logger
from deemo_dist.errors import LaunchError
from deemo_dist.launch.process import STACKS_SECONDS, Child, Reaper, free_port, how_it_ended
from deemo_dist.launch.verdict import Verdict, named

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_POLL_SECONDS = 0.5


def run_ranks(
    command: Sequence[str],
    *,
    ranks: int,
    env: Mapping[str, str] | None = None,
    threads: int = 1,
    timeout: float | None = None,
    grace: float = 5.0,
    stop_grace: float = 60.0,
    cwd: str | None = None,
) -> int:
    """Run ``command`` once a rank, with torchrun's variables set, and return one exit code for all of them.

    Rank 0 writes where this process writes; the others are heard only when they fail. SIGTERM, SIGINT and SIGUSR1 go
    on to every rank (a second SIGINT kills them). When a rank fails, the others get SIGTERM and, ``grace`` seconds
    later, SIGKILL, asked for their stacks before; the rank that failed first is named with its last lines and its code
    is returned (128 + n for signal n), those that fail after it are named in a line each. Once a rank has exited with
    75 (a checkpoint is written) the others have ``stop_grace`` seconds. No process outlives this one, even if it is
    killed.

    Args:
        command: the program and its arguments.
        ranks: how many, at least 1.
        env: variables on top of this process's own.
        threads: OMP_NUM_THREADS of each rank.
        timeout: seconds for the whole; None: no limit.
        grace: seconds between SIGTERM and SIGKILL for the ranks that are left.
        stop_grace: seconds that the others have to stop after the first 75.
        cwd: working directory.

    Raises:
        LaunchError: ``ranks`` is below 1, the program is missing, or ``timeout`` passed.
    """
    if ranks < 1:
        raise LaunchError(f"{ranks} ranks make no sense", hint="set engine.ranks to 1 or more")
    if shutil.which(command[0]) is None:
        raise LaunchError(f"the program {command[0]} is not there", hint="is the virtual environment whole?")
    port = free_port()
    team = _Team(Verdict(ranks, grace=grace, stop_grace=stop_grace))
    with team.forwarding():
        try:
            for rank in range(ranks):
                team.start(command, rank_variables(env, rank=rank, ranks=ranks, port=port, threads=threads), cwd=cwd)
            return team.wait(timeout)
        finally:
            team.end()


def rank_variables(env: Mapping[str, str] | None, *, rank: int, ranks: int, port: int, threads: int) -> dict[str, str]:
    """The environment of one rank: torchrun's variables, on one host."""
    own = {
        "RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(threads),
        "DEEMO_LAUNCHER": "local",
        "PYTHONUNBUFFERED": "1",
    }
    # gloo looks up the host's own name otherwise, which need not resolve
    return {"GLOO_SOCKET_IFNAME": "lo", **os.environ, **(env or {}), **own}


class _Team:
    """The ranks of one run, watched by one selector: pidfds tell who died first, pipes bring what they say."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.children: list[Child] = []
        self.interrupts = 0
        self.selector = selectors.DefaultSelector()
        self.reaper = Reaper()

    def start(self, command: Sequence[str], env: Mapping[str, str], *, cwd: str | None) -> None:
        """Start the next rank."""
        rank = len(self.children)
        child = Child(command, env, capture=rank > 0, cwd=cwd)
        self.children.append(child)
        self.reaper.watch(child.pid)
        self.selector.register(os.pidfd_open(child.pid), selectors.EVENT_READ, rank)
        if child.output is not None:
            self.selector.register(child.output, selectors.EVENT_READ, rank)

    def wait(self, timeout: float | None) -> int:
        """Watch until every rank has ended; the exit code of them all."""
        limit = None if timeout is None else time.monotonic() + timeout
        while not self.verdict.done:
            for key, _ in self.selector.select(_POLL_SECONDS):
                self._hear(key)
            if limit is not None and time.monotonic() > limit:
                raise LaunchError(
                    f"{self._left()} had not ended after {timeout:g} s and was killed", hint="raise the time limit"
                )
            if self.verdict.late:
                self._kill_the_rest()
        return 128 + signal.SIGINT if self.interrupts > 1 else self.verdict.code()

    def _hear(self, key: selectors.SelectorKey) -> None:
        """A rank wrote something, closed its output, or ended."""
        rank: int = key.data
        child = self.children[rank]
        if key.fileobj is child.output:
            child.read()
            if child.closed:
                self.selector.unregister(key.fileobj)
            return
        self.selector.unregister(key.fileobj)
        os.close(key.fd)
        after = self.verdict.failed is not None
        if self.verdict.end(rank, child.wait()):
            self._report(rank, child)
            self._send_all(signal.SIGTERM)
        elif after and self.verdict.worth_telling(child.wait()):
            self._report_briefly(rank, child)

    def _report(self, rank: int, child: Child) -> None:
        if self.interrupts > 1:
            return
        others = "; the others are ended" if self.verdict.left else ""
        logger.error("rank %d of %d %s%s", rank, self.verdict.ranks, how_it_ended(child.wait()), others)
        for line in child.tail():
            logger.error("  rank %d | %s", rank, line)

    def _report_briefly(self, rank: int, child: Child) -> None:
        """One that failed after another: its end and its last word, which names the file of its stacks, if any."""
        if self.interrupts > 1:
            return
        said = "".join(f": {line}" for line in child.tail()[-1:])
        logger.error("rank %d of %d %s%s", rank, self.verdict.ranks, how_it_ended(child.wait()), said)

    def _left(self) -> str:
        return named(self.verdict.left, self.verdict.ranks)

    def _kill_the_rest(self) -> None:
        if self.verdict.failed is None:
            logger.error("%s had not stopped %g s after the first: killed", self._left(), self.verdict.stop_grace)
        self.verdict.deadline = None
        asked = [child.pid for child in self.children if child.ask_for_stacks()]
        if asked:
            time.sleep(STACKS_SECONDS)
        for rank in self.verdict.left:
            self.children[rank].kill()

    def _send_all(self, number: int) -> None:
        for child in self.children:
            child.send(number)

    @contextmanager
    def forwarding(self) -> Iterator[None]:
        """Pass signals on to the ranks. Only a main thread can hear signals: elsewhere this does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._forward) for number in FORWARDED}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.interrupts += number == signal.SIGINT
        self._send_all(signal.SIGKILL if self.interrupts > 1 else number)

    def end(self) -> None:
        """Leave nothing behind: neither a rank nor what it started in its group."""
        for child in self.children:
            child.end()
        for key in list(self.selector.get_map().values()):
            if isinstance(key.fileobj, int):
                os.close(key.fileobj)
        self.selector.close()
        self.reaper.close()
