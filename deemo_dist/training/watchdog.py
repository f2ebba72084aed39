"""Watches that steps go on. When they do not: every thread's stack, the name of the slow rank, and a non-zero exit.

Each rank publishes how far its main thread is through the job's rendezvous store, from a thread of its own: a frozen
process stops publishing, a busy or stuck one publishes that it stands still. A collective keeps the innocent ranks
waiting, so "who is behind" is what tells, not "who waits".
"""

import faulthandler
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from deemo_dist.environ import Placement

EXIT_CODE = 70
_KEY = "deemo/beat"
_BEHIND = 10.0


@dataclass(frozen=True, kw_only=True)
class Beat:
    """What a rank last said: a counter of beats, how far it is, and what it does there."""

    count: int
    progress: tuple[int, int]
    phase: str


class Progress:
    """How far this rank's main thread is: (step, position in the step). Set by the loop, read by the watchdog."""

    def __init__(self) -> None:
        self.place: tuple[int, int] = (-1, 0)
        self.phase = "start"
        self.moved = time.monotonic()

    def at(self, step: int, position: int, phase: str) -> None:
        """The main thread arrived somewhere."""
        self.place, self.phase, self.moved = (step, position), phase, time.monotonic()


def slowest(beats: Mapping[int, Beat | None], silent: frozenset[int]) -> tuple[int, str]:
    """The rank to blame, and why: one that is silent first, then the one that is least far. Pure."""
    known = {rank: beat for rank, beat in beats.items() if beat is not None}
    mute = sorted(silent | {rank for rank in beats if rank not in known})
    if mute:
        beat = known.get(mute[0])
        seen = f", last seen at step {beat.progress[0]} ({beat.phase})" if beat else ""
        return mute[0], f"no sign of life (frozen, dead or cut off){seen}"
    rank = min(known, key=lambda number: known[number].progress)
    behind = known[rank]
    if len({beat.progress for beat in known.values()}) == 1:
        return rank, f"all ranks stand at step {behind.progress[0]} ({behind.phase})"
    return rank, f"behind at step {behind.progress[0]} ({behind.phase})"


class Watchdog:
    """Two daemon threads: one publishes and reads beats (it may block on a dead store), one judges by this rank's own
    progress and never blocks."""

    def __init__(self, place: Placement, progress: Progress, *, seconds: float) -> None:
        self.place = place
        self.progress = progress
        self.seconds = seconds
        self.interval = min(1.0, seconds / 10)
        self.beats: dict[int, Beat | None] = dict.fromkeys(range(place.world))
        self.heard: dict[int, float] = dict.fromkeys(range(place.world), time.monotonic())
        self.ended = threading.Event()

    def start(self) -> None:
        """Start watching."""
        self.progress.at(*self.progress.place, self.progress.phase)
        if self.place.world > 1:
            threading.Thread(target=self._talk, name="heartbeat", daemon=True).start()
        threading.Thread(target=self._judge, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop watching."""
        self.ended.set()
        faulthandler.cancel_dump_traceback_later()

    def _talk(self) -> None:
        """Publish this rank's beat and read the others'; a store without answer leaves its host, rank 0, silent."""
        try:
            store: Any = dist.TCPStore(
                self.place.master_addr,
                self.place.master_port,
                is_master=False,
                wait_for_workers=False,
                timeout=timedelta(seconds=max(1.0, self.interval)),
            )
        except (RuntimeError, ValueError):
            return
        count = 0
        while not self.ended.wait(self.interval):
            count += 1
            beat = [count, *self.progress.place, self.progress.phase]
            try:
                store.set(f"{_KEY}/{self.place.rank}", json.dumps(beat))
                for rank in self.beats:
                    if store.check([f"{_KEY}/{rank}"]):
                        self._hear(rank, json.loads(store.get(f"{_KEY}/{rank}")))
            except (RuntimeError, ValueError):
                continue

    def _hear(self, rank: int, raw: list[Any]) -> None:
        beat = Beat(count=raw[0], progress=(raw[1], raw[2]), phase=raw[3])
        if beat != self.beats[rank]:
            self.beats[rank], self.heard[rank] = beat, time.monotonic()

    def _judge(self) -> None:
        """Judge by this rank's own progress. Native code that holds the interpreter would stop this thread too, so
        that faulthandler's own thread, put off again and again, stands behind it (it dumps, and exits with 1)."""
        while not self.ended.wait(self.interval):
            still = time.monotonic() - self.progress.moved
            if still > self.seconds:
                self._bark(still)
            faulthandler.dump_traceback_later(self.seconds + _BEHIND, exit=True)
        faulthandler.cancel_dump_traceback_later()

    def _bark(self, still: float) -> None:
        """Say who is slow, dump every stack, and end this process without waiting for anything."""
        own = self.progress
        lines = [f"rank {self.place.rank}: no progress for {still:.0f} s at step {own.place[0]} ({own.phase})"]
        if self.place.world > 1:
            now = time.monotonic()
            limit = max(3 * self.interval, 2.0)
            silent = frozenset(rank for rank, heard in self.heard.items() if now - heard > limit)
            if len(silent) == self.place.world:  # the store itself is silent: its host is
                silent = frozenset({0})
            rank, why = slowest(self.beats, silent - {self.place.rank})
            lines.append(f"the slow rank is rank {rank}: {why}")
        print("watchdog: " + "; ".join(lines), file=sys.stderr, flush=True)
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        sys.stderr.flush()
        os._exit(EXIT_CODE)


@contextmanager
def watching(place: Placement, progress: Progress, *, seconds: float) -> Iterator[None]:
    """Watch for a while; ``seconds`` 0 or less: not at all."""
    if seconds <= 0:
        yield
        return
    dog = Watchdog(place, progress, seconds=seconds)
    dog.start()
    try:
        yield
    finally:
        dog.stop()
