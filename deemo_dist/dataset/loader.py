"""The loader: from a step plan to packed batches, ahead of the training loop, resumable by one number."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np

from deemo_dist.dataset.door import Door
from deemo_dist.dataset.dropout import drop_modalities
from deemo_dist.dataset.layout import lengths_key
from deemo_dist.dataset.lifecycle.tombstones import refuse_tombstoned
from deemo_dist.dataset.media import spans
from deemo_dist.dataset.mixed import MixedExamples, examples_at
from deemo_dist.dataset.opened import Dataset
from deemo_dist.dataset.packload import Loaded, Packer, PackLoading, Planned, pinned, refuse_unplanned
from deemo_dist.dataset.plan import StepPlan
from deemo_dist.dataset.workers import Workers
from deemo_dist.errors import DatasetError, DeemoError
from deemo_dist.records import Example

LOOK_SECONDS = 60.0
"""How often a reader asks whether its dataset may still be read."""


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """One pack of this rank, ready for the model. ``keys``: the names (key:task) of the examples in it, as the
    work that packed it says, not the plan (empty for a null pack)."""

    batch: dict[str, Any]
    keys: tuple[str, ...]
    examples: int
    tokens: int
    bytes: float = 0.0


@dataclass(frozen=True, kw_only=True)
class StepBatch:
    """A global step as this rank sees it: M micro-batches. ``targets``: tokens with loss over all ranks;
    ``tokens``: planned over all ranks; ``wait_seconds``: how long the loop waited for it."""

    step: int
    micro: tuple[MicroBatch, ...]
    targets: int
    tokens: int
    wait_seconds: float

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the examples fed to this rank in this step."""
        return tuple(key for micro in self.micro for key in micro.keys)


@dataclass(kw_only=True)
class Loader:
    """Iterates the steps ``start_step .. stop_step`` of a plan for one rank.

    ``frames``: video frames an example gets (None: all). ``workers`` of a ``kind`` (spawned processes, or threads of
    this one) load up to ``prefetch`` packs ahead (0 workers: each pack is loaded when it is asked for). Batches come in
    pinned memory where there is a GPU. Its only state is the step: a new loader with ``start_step=s`` gives what an old
    one would give from ``s`` on. Raises as ``load_examples`` does, and ``DatasetError`` for a tombstoned dataset: also
    for one that is tombstoned while it is read (rank 0 looks once a minute, and no rank goes on without it).
    """

    dataset: Dataset
    store: Door
    examples: Sequence[Example]
    plan: StepPlan
    processor: Packer
    rank: int = 0
    world: int = 1
    start_step: int = 0
    stop_step: int | None = None
    seed: int = 0
    modality_dropout: float = 0.0
    frames: int | None = None
    workers: int = 0
    prefetch: int = 4
    kind: Literal["process", "thread"] = "process"

    def __post_init__(self) -> None:
        if len(self.examples) != len(self.plan.lengths):
            raise DatasetError(f"the plan is for {len(self.plan.lengths)} examples, not {len(self.examples)}")
        self.plan.micro_steps(self.world)
        self._refuse_ended()

    @property
    def end(self) -> int:
        """The step after the last one."""
        return self.plan.steps if self.stop_step is None else min(self.stop_step, self.plan.steps)

    def __len__(self) -> int:
        return max(0, self.end - self.start_step)

    def __iter__(self) -> Iterator[StepBatch]:
        micro_steps = self.plan.micro_steps(self.world)
        looked = time.monotonic()
        with self._loading() as packs:
            for step in range(self.start_step, self.end):
                started = time.monotonic()
                if self.rank == 0 and started - looked > LOOK_SECONDS:
                    self._refuse_ended()
                    looked = started
                try:
                    micro = tuple([next(packs) for _ in range(micro_steps)])
                except DeemoError:
                    self._refuse_ended()  # shards that are gone: say why
                    raise
                waited = time.monotonic() - started
                yield StepBatch(
                    step=step,
                    micro=micro,
                    targets=self.plan.targets(step),
                    tokens=self.plan.tokens(step),
                    wait_seconds=waited,
                )

    def _refuse_ended(self) -> None:
        """Raise ``DatasetError`` where one of the datasets is tombstoned."""
        parts = self.examples.parts.values() if isinstance(self.examples, MixedExamples) else ()
        for prefix in sorted({self.dataset.prefix, *(part.dataset.prefix for part in parts)}):
            refuse_tombstoned(self.store, prefix)

    @contextmanager
    def _loading(self) -> Iterator[Iterator[MicroBatch]]:
        """The rank's packs in their order, loaded ahead by workers where there are any."""
        loading = PackLoading(self.store, self.dataset.prefix, self.processor, self.frames)
        if self.workers < 1:
            yield (self._micro(pack, pinned(loading.whole(pack.examples))) for pack in self._packs())
        elif self.kind == "thread":
            threads = ThreadPoolExecutor(self.workers, thread_name_prefix="deemo-loader")
            try:
                yield self._ahead(lambda pack: threads.submit(lambda: pinned(loading.whole(pack.examples))))
            finally:
                threads.shutdown(wait=True, cancel_futures=True)
        else:
            processes: Workers[tuple[Example, ...], Loaded] = Workers(loading, self.workers, landed=pinned)
            try:
                yield self._ahead(lambda pack: processes.submit(pack.examples, pack.name))
            finally:
                processes.shutdown()

    def _ahead(self, submit: Callable[["_Pack"], "Future[Loaded]"]) -> Iterator[MicroBatch]:
        """Keep ``prefetch`` packs in the making, and no fewer than the workers can begin."""
        making: deque[tuple[_Pack, Future[Loaded]]] = deque()
        for pack in self._packs():
            making.append((pack, submit(pack)))
            if len(making) > max(self.prefetch, self.workers):
                yield self._micro(making[0][0], making.popleft()[1].result())
        while making:
            yield self._micro(making[0][0], making.popleft()[1].result())

    def _packs(self) -> Iterator["_Pack"]:
        """Every micro-step of this rank."""
        for step in range(self.start_step, self.end):
            yield from self.packs(step)

    def packs(self, step: int) -> Iterator["_Pack"]:
        """This rank's packs of a step, modalities dropped by their place alone."""
        dealt = [numbers or () for numbers in self.plan.slice(step, self.rank, self.world)]
        made = iter(examples_at(self.examples, [number for numbers in dealt for number in numbers]))
        for micro, numbers in enumerate(dealt):
            place = micro * self.world + self.rank
            whole = list(islice(made, len(numbers)))
            shown = drop_modalities(whole, self.modality_dropout, seed=self.seed, step=step, pack=place)
            same = tuple(one.modalities == other.modalities for one, other in zip(whole, shown, strict=True))
            yield _Pack(step=step, place=place, numbers=numbers, examples=shown, whole=same)

    def reads(self, step: int) -> list[tuple[str, int, int]]:
        """(shard, offset, bytes) of every read that a step asks of the store, in this rank's order of packs."""
        return [span for pack in self.packs(step) for span in spans(pack.examples)]

    def _micro(self, pack: "_Pack", loaded: Loaded) -> MicroBatch:
        """Raises ``DatasetError`` for a batch that is not as it was planned."""
        lengths, numbers = self.plan.lengths, list(pack.numbers)
        planned = Planned(
            tokens=lengths.tokens[numbers],
            targets=lengths.targets[numbers],
            whole=np.array(pack.whole, bool),
            measured=tuple(map(lengths_key, lengths.measured)),
        )
        refuse_unplanned(loaded, planned, pack.name)
        return MicroBatch(
            batch=loaded.batch,
            keys=loaded.fed,
            examples=len(loaded.fed),
            tokens=int(planned.tokens.sum()),
            bytes=loaded.bytes,
        )


@dataclass(frozen=True, kw_only=True)
class _Pack:
    """One pack to load: its step, its place in the step, its examples as they are shown (none: a null pack), and which
    of them show all their modalities."""

    step: int
    place: int
    numbers: tuple[int, ...]
    examples: tuple[Example, ...]
    whole: tuple[bool, ...]

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"pack {self.place} of step {self.step}"
