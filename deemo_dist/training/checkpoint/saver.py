"""Saving without keeping the loop: a copy on the main thread, the writing on another, one save in flight.

No collective runs off the main thread. Each rank's word about its own save rides on the loop's all-reduce
(``flags``); every rank reads the same sums (``advance``) and so goes through the same phases: writing, committing,
idle.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deemo_dist.console import logger
from deemo_dist.digests import sha256_bytes
from deemo_dist.errors import CheckpointError, DeemoError
from deemo_dist.records.consumed import ConsumedRow
from deemo_dist.training.checkpoint.buffers import Buffer, let_go
from deemo_dist.training.checkpoint.commit import prune, put_commit
from deemo_dist.training.checkpoint.layout import (
    CONTENT,
    Commit,
    PartFile,
    RankReceipt,
    ReceiptRef,
    commit_key,
    content_of,
    part_key,
    receipt_from_json,
    receipt_key,
    to_json,
)
from deemo_dist.training.checkpoint.snapshot import Snapshot
from deemo_dist.training.consumption import Fed, put_rows
from deemo_dist.training.guard import is_undone
from deemo_dist.training.progress import Progress
from deemo_dist.training.spec import CommitInfo

if TYPE_CHECKING:
    from deemo_dist.storage import Store
    from deemo_dist.training.ranks import Ranks

FLAGS = 4
TOLERATED_FAILURES = 3
MEET_SECONDS = 1.0
"""From one exchange to the next of ranks that wait for a save: a collective has a time limit, a save has none."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a stage's checkpoints go and under which names; ``keep``: how many stay; ``before_commit``: what rank 0
    does before each commit, off the main thread."""

    store: "Store"
    run_prefix: str
    prefix: str
    stage_key: str
    attempt: int
    rank: int
    world: int
    keep: int
    extra: Mapping[str, Any]
    before_commit: Callable[[], None] | None = None


class Saver:
    """Saves of one stage on one rank. ``stall_seconds``: how long saving has kept the main thread."""

    def __init__(self, target: Target, snapshot: Snapshot) -> None:
        self.target = target
        self.snapshot = snapshot
        self.progress = Progress()
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self.phase = "idle"
        self.job: Future[None] | None = None
        self.step = -1
        self.state: Mapping[str, Any] = {}
        self.rows: list[ConsumedRow] = []
        self.final = False
        self.fed = Fed(
            attempt=target.attempt,
            rank=target.rank,
            world=target.world,
            plan_digest=str(target.extra.get("plan_digest", "")),
        )
        self.failures = 0
        self.stall_seconds = 0.0

    def begin(self, ranks: "Ranks", step: int, state: Mapping[str, Any], *, final: bool = False) -> CommitInfo | None:
        """Copy the state after ``step`` steps and start to write it. A collective when a save is still in flight: that
        one is settled first, and its commit returned."""
        started = time.perf_counter()
        self.progress = ranks.progress
        earlier = self._settle(ranks) if self.phase != "idle" else None
        if self.failures:
            ranks.finish(self.job)  # a failed save elsewhere: this rank's may still read the buffers
        self.snapshot.fill()
        self.step, self.state, self.final = step, dict(state), final
        self.rows = self.fed.until(step)
        self.phase = "writing"
        self.job = self.pool.submit(self._write)
        self.stall_seconds += time.perf_counter() - started
        return earlier

    def flags(self) -> list[float]:
        """This rank's word for the all-reduce: written, committed, failed, fenced."""
        if self.phase == "idle" or self.job is None or not self.job.done():
            return [0.0] * FLAGS
        error = self.job.exception()
        if error is None:
            return [float(self.phase == "writing"), float(self.phase == "committing"), 0.0, 0.0]
        return [0.0, 0.0, 1.0, float(isinstance(error, CheckpointError))]

    def advance(self, sums: Sequence[float]) -> CommitInfo | None:
        """Take the summed flags; returns the commit once it stands. Raises ``CheckpointError`` when this attempt is
        fenced, or after several failed saves in a row."""
        written, committed, failed, fenced = sums
        if failed:
            self._failed(fatal=fenced > 0)
        elif self.phase == "writing" and written == self.target.world:
            self.phase = "committing"
            self.job = self.pool.submit(self._commit) if self.target.rank == 0 else None
        elif self.phase == "committing" and committed:
            self.phase, self.job, self.failures = "idle", None, 0
            self.fed.committed(self.step)
            return self._info()
        return None

    def settle(self, ranks: "Ranks") -> CommitInfo | None:
        """Wait until nothing is in flight. A collective. Returns the commit; None: nothing, or it failed."""
        started = time.perf_counter()
        done = self._settle(ranks)
        self.stall_seconds += time.perf_counter() - started
        return done

    def close(self) -> None:
        """Let the thread go; a save in flight is abandoned uncommitted."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _settle(self, ranks: "Ranks") -> CommitInfo | None:
        done = None
        with ranks.progress.waits():
            while self.phase != "idle":
                wait([self.job] if self.job is not None else [], timeout=MEET_SECONDS)
                done = self.advance(ranks.sums(self.flags()))
        return done

    def _failed(self, *, fatal: bool) -> None:
        error = self.job.exception() if self.job is not None and self.job.done() else None
        self.phase = "idle"
        self.failures += 1
        reason = str(error) if error is not None else "another rank could not write"
        if fatal or self.failures >= TOLERATED_FAILURES:
            raise CheckpointError(f"the checkpoint at step {self.step} was not saved: {reason}") from error
        logger.warning("the checkpoint at step %d was not saved, training goes on: %s", self.step, reason)

    def _write(self) -> None:
        """Worker thread: put the parts and what was fed, then this rank's receipt."""
        target, names = self.target, (self.target.prefix, self.step, self.target.attempt, self.target.rank)
        parts = []
        for number, part in enumerate(self.snapshot.parts):
            key = part_key(*names, number)
            digest = sha256_bytes(part.data)
            _put(target.store, key, part.data)
            let_go(part.data)
            parts.append(PartFile(key=key, size=len(part.data), sha256=digest, fragments=part.fragments))
            self.progress.tick()
        put_rows(target.store, target.prefix, self.rows)
        self.progress.tick()
        receipt = RankReceipt(
            rank=target.rank, world=target.world, step=self.step, attempt=target.attempt, parts=tuple(parts)
        )
        target.store.put(receipt_key(*names), to_json(receipt))

    def _commit(self) -> None:
        """Rank 0's worker thread: name every receipt in the commit, then let go of old checkpoints."""
        target = self.target
        if target.before_commit is not None:
            target.before_commit()
        keys = [receipt_key(target.prefix, self.step, target.attempt, rank) for rank in range(target.world)]
        receipts = {key: target.store.get(key) for key in keys}
        content = content_of(receipt_from_json(data, key) for key, data in receipts.items())
        commit = Commit(
            stage_key=target.stage_key,
            step=self.step,
            attempt=target.attempt,
            world=target.world,
            final=self.final,
            receipts=tuple(ReceiptRef(key=key, sha256=sha256_bytes(data)) for key, data in receipts.items()),
            state=self.state,
            extra={**target.extra, CONTENT: content},
        )
        put_commit(target.store, target.run_prefix, target.prefix, commit)
        try:
            self._prune()
        except DeemoError as error:
            logger.warning("old checkpoints could not be removed: %s", error)

    def _prune(self) -> None:
        """Let go of old checkpoints, but for the best one, and in a row of left-out updates the one to go back to."""
        target, best, row = self.target, self.state.get("best_step"), int(self.state.get("skipped_in_a_row", 0))
        stretches = self.state.get("undone", [])
        prune(
            target.store,
            target.prefix,
            keep=target.keep,
            made=self.step,
            attempt=target.attempt,
            protect=frozenset() if best is None else frozenset({int(best)}),
            before=self.step - row if row else None,
            undone=lambda step: is_undone(stretches, step),
        )

    def _info(self) -> CommitInfo:
        key = commit_key(self.target.prefix, self.step, self.target.attempt)
        return CommitInfo(step=self.step, attempt=self.target.attempt, key=key)


def _put(store: "Store", key: str, data: Buffer) -> None:
    """Put a file from where it lies: no second copy of gigabytes."""
    if isinstance(data, bytearray):
        store.put(key, data)  # type: ignore[arg-type]
    else:
        store.put_chunks(key, [data])  # type: ignore[list-item] # a mapped one would be read on from where it was left
