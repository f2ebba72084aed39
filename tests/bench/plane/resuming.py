"""Resume: from an opened plan to the shards and offsets of a step; and what reading asks of a bucket."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np

from cluster.local.s3 import LocalS3
from deemo_dist.config import StorageConfig
from deemo_dist.dataset import Budget, CachedStore, PlanSettings, StepPlan, table_of
from deemo_dist.dataset.media import spans
from deemo_dist.records import Example, Length, Member
from deemo_dist.storage import Store, open_store
from tests.bench.plane.reading import packs_of, stream
from tests.bench.plane.samples import PREFIX, example_of, plan_of
from tests.proxies.s3 import FaultProxy

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
        Member(extension="mp4", offset=512, size=65_536, blake3=""),
        Member(extension="json", offset=66_560, size=600, blake3=""),
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


@contextmanager
def bucket_of(store: Store) -> Iterator[Callable[[list[Example], Path | None], float]]:
    """A real S3 server with the shards of ``store``, behind a proxy that counts what is asked of it. Gives a function:
    samples read for each request over one epoch, with the node's cache in a folder, or without (None)."""
    with (
        LocalS3() as server,
        FaultProxy(server.endpoint) as proxy,
        patch.dict(os.environ, {**server.environment(), "AWS_ENDPOINT_URL": proxy.endpoint}),
    ):
        bucket = open_store(StorageConfig(root=f"{server.root}/bench"))
        for key in store.list(PREFIX):
            bucket.put(key, store.get(key))

        def samples_a_request(examples: list[Example], folder: Path | None) -> float:
            door = CachedStore(bucket, folder, limit=2**30, block=2**20) if folder else bucket
            before = proxy.counts["passed"]
            read = sum(len(batch) for batch in stream(door, packs_of(examples, plan_of(examples, 1)), 0))
            return read / (proxy.counts["passed"] - before)

        yield samples_a_request
