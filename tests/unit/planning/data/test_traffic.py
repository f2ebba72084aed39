"""The simulated reads are the loader's: against a real S3 server, request by request and byte by byte."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.local.s3 import LocalS3
from deemo_dist.config import StorageConfig, TaskConfig
from deemo_dist.dataset import (
    Budget,
    CachedStore,
    Dataset,
    Loader,
    PlanSettings,
    StepPlan,
    build_examples,
    open_dataset,
    plan_units,
    table_of,
)
from deemo_dist.planning.data.grown import grow
from deemo_dist.planning.data.traffic import Node, run
from deemo_dist.records import Example, Length
from deemo_dist.storage import Store, open_store
from tests import parts

pytestmark = pytest.mark.slow
TASK = TaskConfig(prompt="Which emotion?", answer="{label.emotion}")
BLOCK = 2**16
NODES, RANKS = 2, 4


class Packer:
    """A processor that keeps nothing."""

    def pack(self, examples: Any) -> dict[str, Any]:
        return {}

    def null_pack(self) -> dict[str, Any]:
        return {}


class Counting:
    """A store that counts what the server is asked."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.gets = self.heads = self.fetched = 0

    def get_range(self, key: str, start: int, length: int) -> bytes:
        data = self.store.get_range(key, start, length)
        self.gets, self.fetched = self.gets + 1, self.fetched + len(data)
        return data

    def get(self, key: str) -> bytes:
        return self.store.get(key)

    def size(self, key: str) -> int:
        self.heads += 1
        return self.store.size(key)


@pytest.fixture(scope="module")
def bucket() -> Iterator[StorageConfig]:
    with LocalS3() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        yield StorageConfig(root=f"{server.root}/planned", timeout_seconds=10.0)


@pytest.fixture(scope="module")
def dataset(bucket: StorageConfig) -> Dataset:
    store = open_store(bucket)
    parts.dataset(store, plan_units(parts.clips(240), 60_000))
    return open_dataset(store, "demo", "v1")


@pytest.fixture(scope="module")
def examples(dataset: Dataset) -> list[Example]:
    return list(build_examples(dataset, {"emotion": TASK}, ["emotion"], "train"))


def plan_of(examples: Any, units: np.ndarray, *, seed: int, window: int = 100, epochs: int = 1) -> StepPlan:
    lengths = table_of([Length(tokens=90 + n % 70, targets=1, frames=8, audio_seconds=0.5) for n in range(len(units))])
    budget = Budget(tokens=500, frames=64, audio_seconds=9)
    return StepPlan(
        lengths, units, PlanSettings(seed=seed, epochs=epochs, packs_per_step=8, budget=budget, window=window)
    )


def loader(dataset: Dataset, store: Any, examples: Any, plan: StepPlan, rank: int = 0) -> Loader:
    common = {"dataset": dataset, "examples": examples, "plan": plan, "processor": Packer(), "world": RANKS}
    return Loader(store=store, rank=rank, frames=1, modality_dropout=0.2, seed=4, **common)


@pytest.mark.parametrize("limit", [0, 64 * BLOCK])
def test_requests_and_bytes_are_predicted_exactly(
    dataset: Dataset,
    examples: list[Example],
    bucket: StorageConfig,
    tmp_path: Path,
    limit: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one_at_a_time = ThreadPoolExecutor(1)  # the blocks of a range that two ask for at once come by fewer requests
    monkeypatch.setattr("deemo_dist.dataset.media._readers", lambda: one_at_a_time)
    counting = [Counting(open_store(bucket)) for _ in range(NODES)]
    stores: list[Any] = [counting[rank // 2] for rank in range(RANKS)]
    if limit:
        stores = [
            CachedStore(store, tmp_path / f"{rank // 2}", limit=limit, block=BLOCK)  # type: ignore[arg-type]
            for rank, store in enumerate(stores)
        ]
    plan = plan_of(examples, np.array([example.sample.unit for example in examples]), seed=1)
    ranks = [loader(dataset, store, examples, plan, rank) for rank, store in enumerate(stores)]
    for together in zip(*ranks, strict=True):
        assert len({step.step for step in together}) == 1
    sizes = {
        key.rpartition("/")[2]: open_store(bucket).size(key)
        for key in open_store(bucket).list("datasets/demo/v1/shards/")
    }
    nodes = [Node(sizes, limit=limit, block=BLOCK) for _ in range(NODES)]
    steps = run(ranks[0], nodes, range(plan.steps))
    for node, real in zip(nodes, counting, strict=True):
        assert (node.traffic.gets, node.traffic.heads, node.traffic.fetched) == (real.gets, real.heads, real.fetched)
    assert sum(step.samples for step in steps) == len(examples)
    assert sum(step.requests for step in steps) == sum(real.gets + real.heads for real in counting) > 0


def test_a_grown_dataset_asks_like_the_real_one(
    dataset: Dataset, examples: list[Example], bucket: StorageConfig
) -> None:
    """From a tenth of the samples: requests and bytes a sample of the whole, within 10 %."""
    sizes = {row.shard: dataset.info.bytes // dataset.info.shards for row in dataset.index}
    real = plan_of(examples, np.array([example.sample.unit for example in examples]), seed=2)
    tenth = examples[::10]
    few = grow(
        tenth, samples=np.arange(len(tenth)), examples_wanted=len(examples), shard_bytes=max(sizes.values()), seed=3
    )
    grown = plan_of(few, few.shard, seed=2)
    found = []
    for held, plan, known in ((examples, real, sizes), (few, grown, few.sizes)):
        nodes = [Node(known, limit=0, block=BLOCK) for _ in range(NODES)]
        run(loader(dataset, open_store(bucket), held, plan), nodes, range(plan.steps))
        total = nodes[0].traffic.plus(nodes[1].traffic)
        found.append((total.gets / total.samples, total.fetched / total.samples))
    assert found[1] == pytest.approx(found[0], rel=0.1)
