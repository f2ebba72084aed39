"""Resume: from an opened plan to the shards and offsets of a step; and what reading asks of a bucket."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deemo_dist.config import StorageConfig
from deemo_dist.dataset import Budget, CachedStore, PlanSettings, StepPlan, table_of
from deemo_dist.dataset.media import spans
from deemo_dist.records import Example, Length, Member
from deemo_dist.storage import Store, open_store
from tests.bench.plane.reading import packs_of, stream
from tests.bench.plane.samples import example_of, plan_of

EXAMPLES, SHARD = 100_000, 640
BUDGET = Budget(tokens=4096, frames=512, audio_seconds=600.0)
PACKS_PER_STEP = 64


def resumes(folder: Path) -> Callable[[float], float]:
    """A function of a position in the epoch (0 to 1): resumes a second at it, of a plan freshly opened."""
    store = open_store(StorageConfig(root=f"file://{folder}"))
    draw = np.random.default_rng(0)
    tokens = draw.integers(60, 1200, EXAMPLES).tolist()
    lengths = table_of([Length(tokens=count, targets=1, frames=8, audio_seconds=1.0) for count in tokens])
    shards = np.arange(EXAMPLES) // SHARD
    members = (
        Member(extension="mp4", offset=512, size=65_536, sha256=""),
        Member(extension="json", offset=66_560, size=600, sha256=""),
    )
    examples = [example_of(f"{n:032x}", n // SHARD, f"{n // SHARD:05d}.tar", members) for n in range(EXAMPLES)]
    settings = PlanSettings(seed=1, epochs=1, packs_per_step=PACKS_PER_STEP, budget=BUDGET)
    StepPlan(lengths, shards, settings, store=store)

    def resume(position: float) -> float:
        plan = StepPlan(lengths, shards, settings, store=store)
        started = time.perf_counter()
        for numbers in plan.slice(int(plan.steps * position), 0, 1):
            spans([examples[number] for number in numbers or ()])
        return 1 / (time.perf_counter() - started)

    return resume


class CountingStore:
    """A store whose objects are no files, as in a bucket; ``requests`` counts what is asked of it."""

    def __init__(self, store: Store) -> None:
        self.store, self.requests = store, 0

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Counted."""
        self.requests += 1
        return self.store.get_range(key, start, length)

    def size(self, key: str) -> int:
        """Counted."""
        self.requests += 1
        return self.store.size(key)


def samples_a_request(store: Store, examples: list[Example], folder: Path | None) -> float:
    """Samples read for each request to the bucket over one epoch; with the node's cache in ``folder``, or without."""
    counting = CountingStore(store)
    door = CachedStore(counting, folder, limit=2**30, block=2**20) if folder else counting  # type: ignore[arg-type]
    read = sum(len(batch) for batch in stream(door, packs_of(examples, plan_of(examples, 1)), 0))  # type: ignore[arg-type]
    return read / counting.requests
