"""How far this rank's main thread is, for the watchdog and for whoever has to name the slow one."""

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Place = tuple[int, int, int]
"""(chapter, step, position in the step): grows on every rank in the same way."""
WORK_SHARE = 0.05
"""Of one processor: less than this over the watchdog's time is no work. What threads of collectives and of the store
spend while all wait is .007, more where processors are short."""
WORK_BYTES = 2**20


def where(place: Place, phase: str) -> str:
    """A place in words: ``at step 4 (data)``."""
    return f"at step {place[1]} ({phase})" if place[1] >= 0 else f"before the first step ({phase})"


class Progress:
    """Where the main thread is. ``at`` within a step; ``during`` outside of steps, where nobody knows how long a thing
    takes: there, whatever this process computes, reads or writes counts as going on."""

    def __init__(self) -> None:
        self.place: Place = (0, -1, 0)
        self.phase = "start"
        self.in_step = False
        self.waiting = False
        self.moves = 0
        self.moved = time.monotonic()

    def at(self, step: int, position: int, phase: str) -> None:
        """The main thread arrived at ``position`` of ``step``."""
        self.place, self.phase, self.in_step = (self.place[0], step, position), phase, True
        self.tick()

    def during(self, phase: str) -> None:
        """The main thread begins what is no step. To be called on every rank at the same points."""
        chapter, step, _ = self.place
        self.place, self.phase, self.in_step = (chapter + 1, step, 0), phase, False
        self.tick()

    def on(self) -> None:
        """The main thread has done its share of this and waits for others, or has been waited for."""
        chapter, step, position = self.place
        self.place = (chapter, step, position + 1)
        self.tick()

    @contextmanager
    def waits(self) -> Iterator[None]:
        """The main thread waits for work that is not its own: what it spends meanwhile does not count."""
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False

    def tick(self) -> None:
        """Something moved, on whichever thread: a part was written or read."""
        self.moves += 1
        self.moved = time.monotonic()


@dataclass(frozen=True)
class Work:
    """What was done so far: processor seconds of this process and of its children that ended, of its main thread and of
    the threads that watch; bytes read and written through files."""

    cpu: float
    main: float
    watch: float
    moved_bytes: int

    @classmethod
    def now(cls, watch: float) -> "Work":
        """As of now; bytes are 0 where the kernel does not count them."""
        try:
            lines = Path("/proc/self/io").read_text().splitlines()[:2]
            moved = sum(int(line.split()[1]) for line in lines)
        except (OSError, IndexError, ValueError):
            moved = 0
        spent = time.process_time() + sum(os.times()[2:4])
        return cls(spent, time.clock_gettime(_main_clock()), watch, moved)

    def since(self, before: "Work", *, waiting: bool) -> float:
        """Processor seconds of real work since: not those of the watch itself, nor, where the main thread is
        ``waiting``, its own: a wait may poll, or spin. The clocks are not read at one moment: it may be a little below
        0, which evens out from look to look."""
        spent = self.cpu - before.cpu - (self.watch - before.watch)
        return spent - (self.main - before.main if waiting else 0.0)


@functools.cache
def _main_clock() -> int:
    """The clock of the main thread's processor time."""
    return time.pthread_getcpuclockid(threading.main_thread().ident or 0)


class Diligence:
    """Tells ``progress`` of the process's own work where that counts. ``seconds``: the watchdog's patience; ``watch``
    gives the processor seconds that watching has cost so far."""

    def __init__(self, progress: Progress, *, seconds: float, watch: Callable[[], float] = time.thread_time) -> None:
        self.progress = progress
        self.enough = WORK_SHARE * seconds
        self.watch = watch
        self.moves, self.work = progress.moves, Work.now(watch())
        self._restart()

    def look(self) -> None:
        """Compare with the last look; work enough since the last movement is a movement."""
        now = Work.now(self.watch())
        self.cpu += now.since(self.work, waiting=self.progress.waiting)
        self.moved_bytes += now.moved_bytes - self.work.moved_bytes
        self.work = now
        worked = self.cpu > self.enough or self.moved_bytes > WORK_BYTES
        if self.progress.moves == self.moves and worked and not self.progress.in_step:
            self.progress.tick()
        if self.progress.moves != self.moves:
            self._restart()

    def _restart(self) -> None:
        self.moves, self.cpu, self.moved_bytes = self.progress.moves, 0.0, 0
