"""What a forecast says of what it was given."""

from dataclasses import replace

import numpy as np
import pytest

from deemo_dist.dataset import plan_units
from deemo_dist.planning.data.forecast import S3_READS_PER_SECOND, Cluster, Forecast, Measured, Scale, forecast
from deemo_dist.planning.data.grown import BLOCK, Grown, grow
from deemo_dist.planning.data.traffic import Node, Traffic
from deemo_dist.records import Example
from tests import parts

STEP = Traffic(
    samples=800, packs=80, reads=900, wanted=10**8, gets=500, heads=100, fetched=4 * 10**8, looked=2, found=1
)
CLUSTER = Cluster(ranks=64, nodes=8, workers=2, cpus=16, step_seconds=0.5, network=10**9, memory=2.0**40)
MEASURED = Measured(
    row_seconds=1e-6,
    row_memory=2000.0,
    row_stored=500.0,
    example_memory=24.0,
    window_seconds=0.01,
    sample_seconds=0.05,
    pack_seconds=0.2,
)
SCALE = Scale(
    samples=10**6,
    distinct=2 * 10**6,
    examples=6 * 10**6,
    windows=300,
    steps=7500,
    cache_bytes=2**33,
    requests_per_second=400.0,
)


def made(cluster: Cluster = CLUSTER, scale: Scale = SCALE, *, kept: bool = True, needed: int = 2**30) -> Forecast:
    return forecast([STEP, STEP], needed, cluster, scale, MEASURED, kept)


def loads(found: Forecast) -> dict[str, float]:
    return {limit.name: limit.load for limit in found.limits}


def test_figures_follow_from_what_was_simulated_and_measured() -> None:
    found = made()
    assert (found.requests_per_step, found.worst_requests, found.bytes_per_step) == (600, 600, 4 * 10**8)
    assert (found.requests_per_sample, found.bytes_per_sample, found.hit_share) == (0.75, 5 * 10**5, 0.5)
    assert found.process_memory == 10**6 * 2000 + 2 * 10**6 * 24
    assert found.node_memory == 8 * found.process_memory
    assert found.start_bytes == 8 * 500 * 10**6
    assert found.tabulation_seconds == pytest.approx(300 * 0.01 / 16)
    assert found.resume_seconds == pytest.approx(1 + 0.02 + 0.2) == found.first_batch_seconds
    assert made(kept=False).first_batch_seconds == pytest.approx(found.resume_seconds + found.tabulation_seconds)


def test_limits_are_loads_a_second_and_sorted() -> None:
    found = made()
    assert loads(found) == pytest.approx(
        {
            "CPU to decode and pack": 800 / 8 * 0.05 / 0.5 / 16,
            "requests, of the bucket's prefix": 1200 / S3_READS_PER_SECOND,
            "requests, of the processes' shares": 1200 / (400 * 128),
            "a node's network": 10**8 / 10**9,
            "a node's cache": 2**30 / 2**33,
            "a node's memory, for index and plan alone": found.node_memory / 2**40,
        }
    )
    assert list(loads(found).values()) == sorted(loads(found).values(), reverse=True)
    assert found.fastest_step == pytest.approx(800 / 8 * 0.05 / 16)


def test_what_is_not_known_is_not_judged() -> None:
    unknown = replace(CLUSTER, step_seconds=None, network=None, memory=None)
    assert list(loads(made(unknown, replace(SCALE, cache_bytes=0)))) == []


def examples_of(count: int) -> list[Example]:
    found = []
    (unit,) = plan_units(parts.clips(count), 10**9)
    receipt, _ = parts.receipt(unit)
    for row in receipt.index:
        for task in ("a", "b"):
            found.append(Example(key=row.key, task=task, turns=(), sample=row, modalities=("video", "audio")))
    return found


def test_grown_shards_hold_whole_samples_one_after_the_other() -> None:
    examples = examples_of(6)
    sizes = 40_000
    grown: Grown = grow(examples, samples=np.repeat(np.arange(6), 2), examples_wanted=300, shard_bytes=sizes, seed=1)
    assert 300 <= len(grown) < 400
    ends: dict[str, int] = {}
    for first, second in zip(grown[::2], grown[1::2], strict=True):
        assert first.sample == second.sample and {first.task, second.task} == {"a", "b"}
        members = first.sample.members
        assert members[0].offset - BLOCK == ends.get(first.sample.shard, 0)
        end = max(member.offset + member.size for member in members)
        ends[first.sample.shard] = -(-end // BLOCK) * BLOCK
    assert {shard: end + 2 * BLOCK for shard, end in ends.items()} == grown.sizes
    assert sorted(ends) == list(ends)
    assert all(end < sizes + 20_000 for end in ends.values())


def test_a_nodes_cache_asks_once_for_a_run_of_blocks() -> None:
    node = Node({"s": 1000}, limit=64_000, block=100)
    node.read(0, "s", 50, 200)
    node.read(1, "s", 0, 100)
    node.read(1, "s", 50, 940)
    assert node.traffic == Traffic(reads=3, wanted=1240, gets=2, heads=2, fetched=1000, looked=14, found=4)
    small = Node({"s": 10_000}, limit=1000, block=100)
    for start in range(0, 10_000, 100):
        small.read(0, "s", start, 100)
    assert small.used <= 1000 < small.traffic.fetched == 10_000


@pytest.mark.parametrize("processes", [1, 2, 8, 32])
def test_a_cache_too_small_for_a_window_is_seen_however_few_processes_read(processes: int) -> None:
    """Ten shards of 10,000 bytes, read three times over in a window, then others."""
    sizes = {f"{shard}": 10_000 for shard in range(20)}
    small, large = (Node(sizes, limit=limit, block=100) for limit in (5_000, 120_000))
    for node in (small, large):
        for window in (range(10), range(10, 20)):
            node.begin()
            reads = [(f"{shard}", start) for _ in range(3) for shard in window for start in range(0, 10_000, 100)]
            for number, (shard, start) in enumerate(reads):
                node.read(number % processes, shard, start, 100)
        assert node.needed == -(-100_000 * 8 // 7)
    assert small.traffic.fetched == 3 * large.traffic.fetched == 3 * sum(sizes.values())
    needs = [made(scale=replace(SCALE, cache_bytes=node.limit), needed=node.needed) for node in (small, large)]
    assert [found.cache_needed for found in needs] == [small.needed] * 2
    assert [loads(found)["a node's cache"] > 1 for found in needs] == [True, False]
