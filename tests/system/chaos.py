"""What can go wrong with a preprocessing job from outside, done on purpose: kills, stops, and a store that fails."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cluster.local.processes import descendants
from cluster.local.ray import WORKER, LocalRay
from cluster.local.s3 import LocalS3
from tests.proxies.s3 import FaultProxy

MAX_LIVES = 6
PATIENCE = 420.0
AGAIN_SECONDS = 0.5
FAULTS = ("worker", "driver", "hang", "decoder", "freeze", "restart", "slow", "lost")


@dataclass(frozen=True, order=True)
class Moment:
    """When: ``seconds`` after ``share`` of the units were done (below 0: after the start)."""

    share: float
    seconds: float


@dataclass
class Chaos:
    """One job, and those who harm it. ``ray``: of a job on Ray actors, else None. ``done``: the share of units that
    are committed. ``log``: what was done when; ``late``: the faults that met no running job, ``struck`` those that
    did."""

    command: Sequence[str]
    env: dict[str, str]
    output: Path
    server: LocalS3
    proxy: FaultProxy
    ray: LocalRay | None
    rng: random.Random
    done: Callable[[], float]
    log: list[str] = field(default_factory=list)
    struck: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    started: float = 0.0
    lives: int = 0
    stopped: list[int] = field(default_factory=list)
    driver: "subprocess.Popen[bytes] | None" = None

    def run(self, plan: Sequence[tuple[Moment, str]]) -> float:
        """Run the job to its end while the faults of ``plan`` come upon it; its seconds.

        A driver that is killed, or that gave the store up, is started again, ``MAX_LIVES`` times at most.
        """
        self.started = time.monotonic()
        waiting, due = sorted(plan), list[tuple[float, str]]()
        self._start_driver()
        try:
            while True:
                assert self.driver is not None and self.seconds() < PATIENCE, self.story()
                code = self.driver.poll()
                if code == 0:
                    self.late = [name for _, name in (*due, *waiting)]
                    self.log.append(f"{self.seconds():.1f} s: done; too late came {self.late or 'none'}")
                    return self.seconds()
                if code is not None:
                    self.log.append(f"{self.seconds():.1f} s: the driver ended with {code}")
                    self._start_driver()
                share = self.done() if waiting else 1.0
                while waiting and waiting[0][0].share <= share:
                    moment, fault = waiting.pop(0)
                    due = sorted([*due, (self.seconds() + moment.seconds, fault)])
                if due and due[0][0] <= self.seconds():
                    _, fault = due.pop(0)
                    if self._do(fault):
                        self.struck.append(fault)
                    else:
                        due = sorted([*due, (self.seconds() + AGAIN_SECONDS, fault)])
                time.sleep(0.2)
        finally:
            self._clear()

    def die_at_work(self, is_time: Callable[[], object]) -> None:
        """Start the job and kill its driver and all its workers at once, as a node dies, when ``is_time``."""
        self.started = time.monotonic()
        self._start_driver()
        assert self.driver is not None
        try:
            while not is_time():
                assert self.driver.poll() is None and self.seconds() < PATIENCE, self.story()
                time.sleep(0.02)
            os.kill(self.driver.pid, signal.SIGSTOP)  # lest it starts another worker
            for pid in (*self._workers(), *self._family("deemo_dist.media.child")):
                os.kill(pid, signal.SIGKILL)
        finally:
            self._clear()

    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.started

    def story(self) -> str:
        """What happened, and the last lines of the driver."""
        said = self.output.read_text(errors="replace").splitlines()[-25:]
        return "\n".join([*self.log, "-- the driver said:", *said])

    def _start_driver(self) -> None:
        self.lives += 1
        assert self.lives <= MAX_LIVES, self.story()
        with self.output.open("ab") as output:
            self.driver = subprocess.Popen(
                [sys.executable, *self.command],
                env={**os.environ, **self.env},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _do(self, fault: str) -> bool:
        """Whether it met anybody."""
        deeds: dict[str, Callable[[], str]] = {
            "worker": lambda: self._signal(self._workers(), signal.SIGKILL),
            "hang": lambda: self._signal(self._workers(), signal.SIGSTOP),
            "decoder": lambda: self._signal(self._family("deemo_dist.media.child"), signal.SIGKILL),
            "driver": lambda: self._signal([self.driver.pid] if self.driver else [], signal.SIGKILL),
            "raylet": self._kill_raylet,
            "task": lambda: self._signal(_tasks(self.output.parent), signal.SIGKILL),
            "freeze": self._freeze,
            "restart": self._restart,
            "slow": lambda: self._misbehave("slow"),
            "lost": lambda: self._misbehave("lost"),
        }
        began, said = self.seconds(), deeds[fault]()
        if said:
            self.log.append(f"{began:.1f} s: {fault}: {said}")
        return bool(said)

    def _signal(self, pids: Sequence[int], number: signal.Signals) -> str:
        if not pids:
            return ""
        pid = self.rng.choice(sorted(pids))
        if number is signal.SIGSTOP:
            self.stopped.append(pid)
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return ""
        return f"{number.name} to {pid}"

    def _workers(self) -> list[int]:
        return self._family("ray::Worker") if self.ray else self._family("multiprocessing.spawn")

    def _family(self, word: str) -> list[int]:
        """Processes below this one whose command line has ``word``."""
        return [pid for pid in descendants(os.getpid()) if word in _command_line(pid)]

    def _kill_raylet(self) -> str:
        """The raylet of the node where the driver is not; a new node joins at once."""
        assert self.ray is not None
        raylets = [pid for pid in self._family("raylet/raylet") if f"node_ip_address={WORKER}" in _command_line(pid)]
        said = self._signal(raylets, signal.SIGKILL)
        if said:
            time.sleep(1.0)
            self.ray.start_worker()
        return said

    def _freeze(self) -> str:
        seconds = self.rng.uniform(1.0, 5.0)
        os.kill(self.server.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.server.pid, signal.SIGCONT)
        return f"{seconds:.1f} s"

    def _restart(self) -> str:
        seconds = self.rng.uniform(0.0, 3.0)
        self.server.kill()
        time.sleep(seconds)
        self.server.start()
        return f"down for {seconds:.1f} s and its start"

    def _misbehave(self, fault: str) -> str:
        seconds = self.rng.uniform(1.0, 4.0)
        self.proxy.misbehave(fault, seconds=seconds)  # type: ignore[arg-type]
        return f"{seconds:.1f} s"

    def _clear(self) -> None:
        """End what is left of the job: the driver, and workers that stand still."""
        if self.driver is not None and self.driver.poll() is None:
            self.driver.kill()
            self.driver.wait()
        left = [pid for pid in self.stopped if _command_line(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        if left:
            self.log.append(f"stopped workers left behind: {left}")


def _tasks(logs: Path) -> list[int]:
    """The tasks of a SLURM array that reads its run from ``logs``: its daemons leave this process's family."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if f"preprocess -c {logs}" in _command_line(pid)]


def _command_line(pid: int) -> str:
    """Empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
