"""Resume: from an opened plan to the shards and offsets of a step; and what reading asks of a bucket."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cluster.local.s3 import LocalS3
from deemo_dist.config import StorageConfig
from deemo_dist.dataset import (
    CachedStore,
    Loader,
    build_examples,
    measure_lengths,
    open_dataset,
    plan_stage,
)
from deemo_dist.records import Example, LoadedExample
from deemo_dist.storage import Store, open_store
from tests import large
from tests.bench.plane.reading import packs_of, stream
from tests.bench.plane.samples import PREFIX, plan_of
from tests.proxies.s3 import FaultProxy

EXAMPLES = 100_000
STAGE = replace(large.STAGE, packs_per_step=64, max_tokens=4096, epochs=1)


class Unused:
    """A processor of a loader that makes no batch."""

    def pack(self, examples: Sequence[LoadedExample]) -> dict[str, Any]:
        """Nobody asks."""
        raise AssertionError("no batch is made")

    def null_pack(self) -> dict[str, Any]:
        """Nobody asks."""
        raise AssertionError("no batch is made")


def resumes(folder: Path) -> Callable[[float], float]:
    """A function of a position in the epoch (0 to 1): resumes a second at it, of a plan freshly opened, by the loader
    over the examples of an opened dataset."""
    store = open_store(StorageConfig(root=f"file://{folder}"))
    large.make_large(store, EXAMPLES)
    dataset = open_dataset(store, "demo", "v1")
    examples = build_examples(dataset, large.TASKS, ["emotion"], "train")
    how = {"dataset_digest": dataset.digest, "processor_digest": "p", "store": store}
    lengths = measure_lengths(examples, large.never, **how)
    plan_stage(examples, lengths, STAGE, seed=1, store=store)

    def resume(position: float) -> float:
        plan = plan_stage(examples, lengths, STAGE, seed=1, store=store)
        loader = Loader(dataset=dataset, store=store, examples=examples, plan=plan, processor=Unused())
        started = time.perf_counter()
        loader.reads(int(plan.steps * position))
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
