"""The loader: from a step plan to packed batches, ahead of the training loop, resumable by one number."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from deemo_dist.dataset.door import Door
from deemo_dist.dataset.dropout import drop_modalities
from deemo_dist.dataset.media import load_examples
from deemo_dist.dataset.opened import Dataset
from deemo_dist.dataset.plan import StepPlan
from deemo_dist.errors import DatasetError
from deemo_dist.records import Example, LoadedExample


class Packer(Protocol):
    """The part of a processor that the loader calls, in worker threads."""

    def pack(self, examples: Sequence[LoadedExample]) -> dict[str, Any]:
        """One padding-free batch."""
        ...

    def null_pack(self) -> dict[str, Any]:
        """A batch that weighs nothing."""
        ...


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """One pack of this rank, ready for the model. ``keys``: the samples fed (empty for a null pack)."""

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
        """Sample keys fed to this rank in this step."""
        return tuple(key for micro in self.micro for key in micro.keys)


@dataclass(kw_only=True)
class Loader:
    """Iterates the steps ``start_step .. stop_step`` of a plan for one rank.

    ``frames``: video frames an example gets (None: all). ``workers`` threads load up to ``prefetch`` packs ahead (0:
    none, each pack is loaded when it is asked for). Its only state is the step: a new loader with ``start_step=s``
    gives what an old one would give from ``s`` on. Raises as ``load_examples`` does.
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

    def __post_init__(self) -> None:
        if len(self.examples) != len(self.plan.lengths):
            raise DatasetError(f"the plan is for {len(self.plan.lengths)} examples, not {len(self.examples)}")
        self.plan.micro_steps(self.world)

    @property
    def end(self) -> int:
        """The step after the last one."""
        return self.plan.steps if self.stop_step is None else min(self.stop_step, self.plan.steps)

    def __len__(self) -> int:
        return max(0, self.end - self.start_step)

    def __iter__(self) -> Iterator[StepBatch]:
        micro_steps = self.plan.micro_steps(self.world)
        with self._loading() as packs:
            for step in range(self.start_step, self.end):
                started = time.monotonic()
                micro = tuple(next(packs) for _ in range(micro_steps))
                waited = time.monotonic() - started
                yield StepBatch(
                    step=step,
                    micro=micro,
                    targets=self.plan.targets(step),
                    tokens=self.plan.tokens(step),
                    wait_seconds=waited,
                )

    @contextmanager
    def _loading(self) -> Iterator[Iterator[MicroBatch]]:
        """The rank's packs in their order, loaded ahead by threads where there are any."""
        if self.workers < 1:
            yield (self._load(*work) for work in self._work())
            return
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="deemo-loader")
        try:
            yield self._ahead(pool)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _ahead(self, pool: ThreadPoolExecutor) -> Iterator[MicroBatch]:
        """Keep ``prefetch`` packs in the making."""
        making: deque[Future[MicroBatch]] = deque()
        for work in self._work():
            making.append(pool.submit(self._load, *work))
            if len(making) > max(self.prefetch, 1):
                yield making.popleft().result()
        while making:
            yield making.popleft().result()

    def _work(self) -> Iterator[tuple[int, int, tuple[int, ...] | None]]:
        """(step, the pack's place in its step, example numbers) of every micro-step of this rank."""
        for step in range(self.start_step, self.end):
            for micro, numbers in enumerate(self.plan.slice(step, self.rank, self.world)):
                yield step, micro * self.world + self.rank, numbers

    def _load(self, step: int, place: int, numbers: tuple[int, ...] | None) -> MicroBatch:
        """Load and pack one pack."""
        if numbers is None:
            return MicroBatch(batch=self.processor.null_pack(), keys=(), examples=0, tokens=0)
        examples = drop_modalities(
            [self.examples[number] for number in numbers], self.modality_dropout, seed=self.seed, step=step, pack=place
        )
        loaded = load_examples(examples, self.store, self.dataset.prefix, frames=self.frames)
        return MicroBatch(
            batch=self.processor.pack(loaded),
            keys=tuple(example.key for example in examples),
            examples=len(examples),
            tokens=int(self.plan.lengths.tokens[list(numbers)].sum()),
            bytes=sum(item.figures["bytes"] for item in loaded),
        )
