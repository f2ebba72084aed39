"""Watches that a job goes on. When it does not: every thread's stack, the name of the slow rank, and a non-zero exit.

A collective keeps the innocent ranks waiting, so "who is behind" is what tells, not "who waits"; and as long as one
rank gets on (a slow upload, a slow disk) the others may wait for it. It is an alarm when nobody moves, or when a rank
has fallen silent.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from deemo_dist.environ import Placement
from deemo_dist.training.beats import Herald
from deemo_dist.training.progress import Diligence, Progress, where
from deemo_dist.training.stacks import Stacks

EXIT_CODE = 70
_BEHIND = 10.0
_GOODBYE_SECONDS = 2.0
_LINGER = 4
"""Intervals: the beats through which the others learn what this rank has seen."""


class Watchdog:
    """Two daemon threads: one talks with the other ranks and may block on a dead store, one judges and never blocks."""

    def __init__(self, place: Placement, progress: Progress, stacks: Stacks, *, seconds: float) -> None:
        self.place = place
        self.progress = progress
        self.stacks = stacks
        self.seconds = seconds
        self.interval = min(1.0, seconds / 10)
        self.herald = Herald(place.rank, place.world, progress, quiet=max(3 * self.interval, 2.0))
        self.ended = threading.Event()
        self.voice = threading.Thread(target=self._talk, name="heartbeat", daemon=True)
        self.eye = threading.Thread(target=self._judge, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self.progress.tick()
        if self.place.world > 1:
            self.voice.start()
        self.eye.start()

    def stop(self) -> None:
        """Stop watching, and tell the others."""
        self.ended.set()
        if self.place.world > 1:
            self.voice.join(_GOODBYE_SECONDS)
        self.eye.join()
        self.stacks.close()

    def _talk(self) -> None:
        """Exchange beats until the end; where the store does not answer, connect anew."""
        while not self.ended.is_set():
            with contextlib.suppress(RuntimeError, ValueError, KeyError, TypeError):
                store = self._connect()
                while not self.ended.wait(self.interval):
                    self.herald.speak(store)
                self.herald.speak(store, last=True)
            self.ended.wait(self.interval)

    def _connect(self) -> Any:
        return dist.TCPStore(
            self.place.master_addr,
            self.place.master_port,
            is_master=False,
            wait_for_workers=False,
            timeout=timedelta(seconds=max(2.0, 3 * self.interval)),
        )

    def _judge(self) -> None:
        """Native code that holds the interpreter would stop this thread too, so that faulthandler's own thread, put off
        again and again, stands behind it."""
        diligence = Diligence(self.progress, seconds=self.seconds, watch=self._cost)
        while not self.ended.wait(self.interval):
            diligence.look()
            if max(self._still(), self._silence()) > self.seconds:
                self._bark()
            self.stacks.dump_later(self.seconds + _BEHIND)

    def _cost(self) -> float:
        """Processor seconds of the watch itself; to be asked on the thread that judges."""
        return time.thread_time() + self.herald.cpu

    def _still(self) -> float:
        """Seconds for which neither this rank nor, as far as it knows, any other has moved."""
        now, verdict = time.monotonic(), self.herald.verdict
        own = now - self.progress.moved
        if verdict is None or verdict.over:
            return own
        return min(own, verdict.still + now - self.herald.heard)

    def _silence(self) -> float:
        """Seconds for which a rank that should speak has not."""
        verdict = self.herald.verdict
        return 0.0 if verdict is None or verdict.over else verdict.silence

    def _bark(self) -> None:
        """Say who is slow, dump every stack, and end this process. Not at once: whoever ends first breaks the others'
        collective, so that each is given the time to see the same and to leave its stacks."""
        own, now = self.progress, time.monotonic()
        text = f"rank {self.place.rank}: no progress for {now - own.moved:.0f} s {where(own.place, own.phase)}"
        if self.place.world > 1:
            rank, why = self._blamed(now)
            text += f"; the slow rank is rank {rank}: {why}"
        self.stacks.dump(text)
        time.sleep(_LINGER * self.interval)
        os._exit(EXIT_CODE)

    def _blamed(self, now: float) -> tuple[int, str]:
        """The rank to blame, and why: rank 0's word, or rank 0 when it has none (the store lives there)."""
        herald = self.herald
        silence = now - herald.heard
        if herald.verdict is None or (silence > herald.quiet and not herald.verdict.over):
            return 0, f"no sign of life for {silence:.0f} s (frozen, dead or cut off)"
        return herald.verdict.rank, herald.verdict.why


_watching: list[Watchdog] = []


@contextmanager
def watching(place: Placement, progress: Progress, *, seconds: float, folder: Path | None = None) -> Iterator[None]:
    """Watch for a while; ``seconds`` 0 or less: not at all. Within another watch: that one goes on.

    ``folder``: where each rank's stacks are written, ``rank-00000.txt`` and so on, beside standard error.
    """
    if seconds <= 0 or _watching:
        yield
        return
    dog = Watchdog(place, progress, Stacks(folder, place.rank), seconds=seconds)
    _watching.append(dog)
    dog.start()
    try:
        yield
    finally:
        _watching.remove(dog)
        dog.stop()
