"""Our reading as the bench runs it: the plan's packs, every member checked by its digest, nothing decoded."""

import itertools
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from deemo_dist.dataset import StepPlan
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.media import Files, read_members
from deemo_dist.dataset.workers import Workers
from deemo_dist.records import Example
from tests.bench.plane.samples import PREFIX

AHEAD = 8
Samples = list[dict[str, Any]]


@dataclass(frozen=True)
class Raw:
    """What a worker does with a pack: the bytes of its members, by sample, as arrays."""

    store: Door

    def read(self, examples: tuple[Example, ...]) -> Files:
        """All members, each checked by its digest."""
        return read_members(examples, self.store, PREFIX)

    def make(self, examples: tuple[Example, ...], files: Files) -> Samples:
        """By sample."""
        found: dict[str, dict[str, Any]] = {example.key: {"key": example.key} for example in examples}
        for (key, extension), content in files.items():
            found[key][extension] = np.frombuffer(content, np.uint8)
        return list(found.values())


def packs_of(examples: Sequence[Example], plan: StepPlan) -> Iterator[tuple[Example, ...]]:
    """Every pack of the plan, in its order."""
    for step in range(plan.steps):
        for numbers in plan.step(step):
            yield tuple([examples[number] for number in numbers])


def stream(store: Door, packs: Iterator[tuple[Example, ...]], workers: int) -> Iterator[Samples]:
    """Packs as samples, by this process or by workers."""
    raw = Raw(store)
    if not workers:
        yield from (raw.make(examples, raw.read(examples)) for examples in packs)
        return
    pool: Workers[tuple[Example, ...], Samples] = Workers(raw, workers)
    making: deque[Future[Samples]] = deque()
    try:
        for number, examples in enumerate(packs):
            making.append(pool.submit(examples, f"pack {number}"))
            if len(making) > AHEAD:
                yield making.popleft().result()
        yield from (future.result() for future in making)
    finally:
        pool.shutdown()


def timed(batches: Iterator[Sequence[Any]], warm: int, count: int) -> float:
    """Samples a second over ``count`` of them, after ``warm`` that are not timed."""
    seen = itertools.accumulate(len(batch) for batch in batches)
    first = next(number for number in seen if number >= warm)
    started = time.perf_counter()
    last = next(number for number in seen if number >= first + count)
    return (last - first) / (time.perf_counter() - started)
