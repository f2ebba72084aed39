"""What the ranks tell each other beside the collectives: each how far it is, rank 0 who is behind.

By the job's rendezvous store, from a thread of its own: a frozen process falls silent, a stuck one says that it stands.
Each rank puts its own beat and reads one verdict; rank 0 alone reads all beats, in one request.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from deemo_dist.training.progress import Place, Progress, where

_BEATS, _VERDICT = "deemo/beat", "deemo/verdict"


@dataclass(frozen=True, kw_only=True)
class Beat:
    """What a rank last said: a counter of beats, its movements so far, where it is and what it does there; ``gone``:
    it has ended its watch and is not waited for."""

    count: int
    moves: int
    place: Place
    phase: str
    gone: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Rank 0's word: for how many seconds nobody has moved; the longest silence; the rank to blame, and why. ``over``:
    rank 0 has ended its watch and judges no more."""

    count: int
    still: float
    silence: float
    rank: int
    why: str
    over: bool = False


def slowest(beats: Mapping[int, Beat | None], silent: Mapping[int, float]) -> tuple[int, str]:
    """The rank to blame, and why: the one that is ``silent`` for the most seconds, else the least far. Pure."""
    if silent:
        rank = max(silent, key=lambda number: silent[number])
        beat = beats.get(rank)
        seen = f", last seen {where(beat.place, beat.phase)}" if beat else ""
        return rank, f"no sign of life for {silent[rank]:.0f} s (frozen, dead or cut off){seen}"
    known = {rank: beat for rank, beat in beats.items() if beat is not None and not beat.gone}
    if not known:
        return 0, "nothing is known of the others"
    rank = min(known, key=lambda number: known[number].place)
    behind = known[rank]
    all_there = len({beat.place for beat in known.values()}) == 1
    return rank, f"{'all ranks stand' if all_there else 'behind'} {where(behind.place, behind.phase)}"


class Herald:
    """A rank's voice: ``speak`` puts its beat, and reads rank 0's verdict or, on rank 0, makes it.

    ``quiet``: seconds after which a rank counts as silent. ``verdict``: the last one, ``heard`` when; ``cpu``:
    processor seconds of the thread that speaks, as of the last time.
    """

    def __init__(self, rank: int, world: int, progress: Progress, *, quiet: float) -> None:
        self.rank = rank
        self.progress = progress
        self.quiet = quiet
        self.count = 0
        self.cpu = 0.0
        self.verdict: Verdict | None = None
        self.heard = time.monotonic()
        self.beats: dict[int, Beat | None] = dict.fromkeys(range(world))
        self.spoke: dict[int, float] = dict.fromkeys(range(world), self.heard)
        self.moved: dict[int, float] = dict.fromkeys(range(world), self.heard)

    def speak(self, store: Any, *, last: bool = False) -> None:
        """One exchange over ``store``; ``last``: this rank says goodbye. Raises ``RuntimeError`` as the store does."""
        self.count += 1
        own = self.progress
        beat = Beat(count=self.count, moves=own.moves, place=own.place, phase=own.phase, gone=last)
        store.set(f"{_BEATS}/{self.rank}", json.dumps(asdict(beat)))
        if self.rank == 0:
            self._gather(store)
            self._hear(self._judge(over=last))
            store.set(_VERDICT, json.dumps(asdict(self.verdict)))  # type: ignore[arg-type] # just heard
        elif not last and store.check([_VERDICT]):
            self._hear(Verdict(**json.loads(store.get(_VERDICT))))
        self.cpu = time.thread_time()

    def _hear(self, verdict: Verdict) -> None:
        if self.verdict is None or verdict.count != self.verdict.count:
            self.verdict, self.heard = verdict, time.monotonic()

    def _gather(self, store: Any) -> None:
        """Every beat there is; one that has not come yet is asked for by itself, the others in one request."""
        there = [rank for rank, beat in self.beats.items() if beat or store.check([f"{_BEATS}/{rank}"])]
        said = store.multi_get([f"{_BEATS}/{rank}" for rank in there])
        for rank, data in zip(there, said, strict=True):
            self._note(rank, Beat(**{**(raw := json.loads(data)), "place": tuple(raw["place"])}))

    def _note(self, rank: int, beat: Beat) -> None:
        before, now = self.beats[rank], time.monotonic()
        if beat != before:
            self.spoke[rank] = now
        if before is None or beat.moves != before.moves:
            self.moved[rank] = now
        self.beats[rank] = beat

    def _judge(self, *, over: bool) -> Verdict:
        """Rank 0's verdict on what it has heard so far."""
        now = time.monotonic()
        waited = [rank for rank, beat in self.beats.items() if beat is None or not beat.gone]
        silences = {rank: now - self.spoke[rank] for rank in waited if rank != self.rank}
        mute = {rank: seconds for rank, seconds in silences.items() if seconds > self.quiet}
        rank, why = slowest(self.beats, mute)
        still = now - max((self.moved[rank] for rank in waited), default=now)
        silence = max(silences.values(), default=0.0)
        return Verdict(count=self.count, still=still, silence=silence, rank=rank, why=why, over=over)
