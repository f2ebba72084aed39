"""``deemo plan data``: what a run would ask of storage, nodes and processes, from its own data and this machine."""

import io
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deemo_dist.config import RunConfig
from deemo_dist.dataset import Dataset, Examples, Loader, MixedExamples, StepPlan
from deemo_dist.dataset.layout import plan_key
from deemo_dist.dataset.packload import PackLoading
from deemo_dist.dataset.rows import joined
from deemo_dist.digests import sha256_bytes
from deemo_dist.errors import ConfigError
from deemo_dist.planning.data.forecast import Cluster, Forecast, Limit, Measured, Scale, forecast
from deemo_dist.planning.data.grown import Grown, grow
from deemo_dist.planning.data.traffic import Node, Traffic, run, together
from deemo_dist.records import Example
from deemo_dist.records.parquet import parquet_table
from deemo_dist.storage import Store, open_store
from pipelines.datasets import open_allowed
from pipelines.stages import PlannedStage, plan_stages

if TYPE_CHECKING:
    from deemo_dist.model import DeemoLlamaProcessor

WINDOWS = 2
"""Windows that are simulated: one is like another."""

TIMES = 3
"""Each thing is timed so often; the least counts."""

ROW_NUMBER = 4
"""Bytes of an example's row number in a large dataset, up to four billion rows."""

TABLE_ROWS = 50_000
"""Rows of the tables that opening is timed on: of one part of an index."""


@dataclass(frozen=True, kw_only=True)
class StageForecast:
    """A stage's forecast, what was simulated for it, and what it was made from."""

    name: str
    scale: Scale
    cluster: Cluster
    measured: Measured
    simulated: Traffic
    simulated_steps: int
    forecast: Forecast


def plan_data(config: RunConfig, cluster: Cluster, *, samples: int | None = None) -> list[StageForecast]:
    """Forecast every stage of a run whose dataset is there, as if it had ``samples`` (None: as many as it has).

    Raises ``ConfigError`` for a cluster that makes no sense, ``DatasetError`` as training would.
    """
    from deemo_dist.model import build_processor

    if cluster.nodes > cluster.ranks:
        raise ConfigError(f"{cluster.nodes} nodes for {cluster.ranks} ranks", hint="a rank a node at least")
    store = open_store(config.storage)
    dataset = open_allowed(config, store, ledger=False)
    processor = build_processor(config.model)
    asked = _Asked(config=config, cluster=cluster, dataset=dataset, processor=processor, store=store, samples=samples)
    return [_forecast(asked, stage) for stage in plan_stages(config, dataset, processor, store)]


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What is asked for: this run on this cluster, as if its dataset had ``samples`` (None: as many as it has)."""

    config: RunConfig
    cluster: Cluster
    dataset: Dataset
    processor: "DeemoLlamaProcessor"
    store: Store
    samples: int | None

    @property
    def cache_bytes(self) -> int:
        """What a node may keep; nothing of a store of files."""
        return self.config.storage.cache_mb * 2**20 if self.store.local_path("shards") is None else 0

    def factor(self, stage: PlannedStage) -> float:
        """By how much the stage's data would be more than they are."""
        real = _real_samples(stage)
        return (self.samples or real) / real


def _forecast(asked: _Asked, stage: PlannedStage) -> StageForecast:
    """Simulate windows of the stage's own samples, time one of each thing, and reckon from both."""
    grown = _grown(asked.config, stage)
    plan, window_seconds = _grown_plan(stage, grown, asked.cluster)
    nodes = _nodes(asked, grown)
    steps = _simulated(_loader(asked, stage, grown, plan), nodes, plan)
    full = steps[:-1] or steps  # the last one may be short
    figures = measured(asked.config, stage, asked.processor, asked.store, window_seconds)
    scale = _scale(asked, stage, plan, plan.packs / len(grown))
    kept = asked.factor(stage) == 1 and _is_kept(stage, asked.store)
    found = forecast(full, max(node.needed for node in nodes), asked.cluster, scale, figures, kept)
    return StageForecast(
        name=stage.name,
        scale=scale,
        cluster=asked.cluster,
        measured=figures,
        simulated=together(nodes),
        simulated_steps=len(full),
        forecast=replace(found, limits=(*_too_few_packs(stage, asked.cluster), *found.limits)),
    )


def _real_samples(stage: PlannedStage) -> int:
    return sum(len(each.index) for each in stage.datasets)


def _grown(config: RunConfig, stage: PlannedStage) -> Grown:
    """The stage's own examples, again and again, until they fill the windows that are simulated."""
    return grow(
        stage.examples,
        samples=_samples(stage),
        examples_wanted=WINDOWS * stage.config.window,
        shard_bytes=config.data.shard_bytes,
        seed=config.seed,
        shares=_shares(stage),
    )


def _nodes(asked: _Asked, grown: Grown) -> list[Node]:
    """The cluster's nodes, their caches empty."""
    block = asked.config.storage.cache_block_kb * 2**10
    return [Node(grown.sizes, limit=asked.cache_bytes, block=block) for _ in range(asked.cluster.nodes)]


def _simulated(loader: Loader, nodes: Sequence[Node], plan: StepPlan) -> list[Traffic]:
    """What each step asks, the windows one after the other; one that a step goes over into begins after it."""
    ends = np.cumsum([len(plan.window(number)) for number in range(plan.windows)])
    first = [-(-int(end) // plan.packs_per_step) for end in (0, *ends)]
    found: list[Traffic] = []
    for begin, end in pairwise(first):
        for node in nodes:
            node.begin()
        found += run(loader, nodes, range(begin, end))
    return found


def _loader(asked: _Asked, stage: PlannedStage, grown: Grown, plan: StepPlan) -> Loader:
    """What training reads by, over the grown dataset."""
    return Loader(
        dataset=asked.dataset,
        store=asked.store,
        examples=grown,
        plan=plan,
        processor=asked.processor,
        world=asked.cluster.ranks,
        seed=asked.config.seed,
        modality_dropout=stage.config.modality_dropout,
        workers=asked.cluster.workers,
    )


def _scale(asked: _Asked, stage: PlannedStage, plan: StepPlan, packs_per_example: float) -> Scale:
    """How large the whole stage is, its packs as full as those of ``plan``."""
    factor = asked.factor(stage)
    shown = _draws(stage) * factor
    return Scale(
        samples=asked.samples or _real_samples(stage),
        distinct=round(len(stage.examples) * factor),
        examples=round(shown),
        windows=max(1, int(shown // stage.config.window)),
        steps=max(1, round(packs_per_example * shown / plan.packs_per_step)),
        cache_bytes=asked.cache_bytes,
        requests_per_second=asked.config.storage.requests_per_second,
    )


def _too_few_packs(stage: PlannedStage, cluster: Cluster) -> Iterator[Limit]:
    """The limit that training refuses by, where ranks would have no pack of a step."""
    if cluster.ranks <= stage.config.packs_per_step:
        return
    yield Limit(
        name="packs of a step",
        needs=cluster.ranks,
        has=stage.config.packs_per_step,
        unit="packs",
        says=f"training is refused; the rest of this is for {cluster.ranks} packs a step",
        change=f"stages.{stage.name}.packs_per_step={cluster.ranks} (which changes the run), or fewer ranks",
    )


def _draws(stage: PlannedStage) -> int:
    """Examples that the stage shows, repeats counted."""
    if isinstance(stage.examples, MixedExamples):
        return stage.examples.mix(stage.config.mix, stage.config.epochs).draws
    return len(stage.examples) * stage.config.epochs


def _samples(stage: PlannedStage) -> np.ndarray:
    """Which sample each example is of: numbers over all of the stage's datasets, int64 [N]."""
    parts = [part for part in stage.parts.values() if isinstance(part, Examples)]
    bases = np.cumsum([0, *(len(part.dataset.index) for part in parts)])
    return np.concatenate([part.rows.astype(np.int64) + base for part, base in zip(parts, bases, strict=False)])


def _shares(stage: PlannedStage) -> np.ndarray | None:
    """How often a mix shows each example beside the others."""
    if not isinstance(stage.examples, MixedExamples):
        return None
    mix = stage.examples.mix(stage.config.mix, stage.config.epochs)
    return np.concatenate(
        [np.full(source.groups.examples, source.draws / source.groups.examples) for source in mix.sources]
    )


def _grown_plan(stage: PlannedStage, grown: Grown, cluster: Cluster) -> tuple[StepPlan, float]:
    """The grown dataset's plan of one epoch, and the seconds that one of its windows took."""
    packs = max(stage.config.packs_per_step, cluster.ranks)
    how = replace(stage.plan.settings, epochs=1, packs_per_step=packs)
    lengths = grown.lengths(stage.plan.lengths)
    StepPlan(lengths, grown.shard, how)  # what is compiled is compiled
    seconds = []
    for _ in range(TIMES):
        started = time.perf_counter()
        plan = StepPlan(lengths, grown.shard, how)
        seconds.append(time.perf_counter() - started)
    return plan, min(seconds) / max(1, len(grown) // stage.config.window)


def measured(
    config: RunConfig, stage: PlannedStage, processor: "DeemoLlamaProcessor", store: Store, window_seconds: float
) -> Measured:
    """What one row, one example and one pack of the real data take here; ``window_seconds``: as timed."""
    tables = [table for each in stage.datasets for table in (each.index.table, each.annotations.rows.table)]
    parts = [part for each in stage.datasets for part in (*each.info.index, *each.info.annotations)]
    rows = sum(len(each.index) for each in stage.datasets)
    lengths = stage.plan.lengths
    columns = (lengths.tokens, lengths.targets, lengths.frames, lengths.audio_ms)
    asked = max((part.asked.itemsize for part in stage.parts.values() if isinstance(part, Examples)), default=0)
    item = sum(np.dtype(column.dtype).itemsize for column in columns) + asked
    loading = PackLoading(store, stage.datasets[0].prefix, processor, config.model.frames)
    packs = [[stage.examples[number] for number in numbers] for numbers in stage.plan.step(0)]
    loading.whole(tuple(packs[0]))  # what is loaded at first use is loaded
    cpu, wall = time.process_time(), time.perf_counter()
    for pack in packs:
        loading.whole(tuple(pack))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Measured(
        row_seconds=sum(_reading(table) * len(table) for table in tables) / rows,
        row_memory=(sum(table.nbytes for table in tables) + _widest(tables)) / rows,
        row_stored=sum(store.size(part.key) for part in parts) / rows,
        example_memory=item + ROW_NUMBER,
        window_seconds=window_seconds,
        sample_seconds=cpu / _count(packs),
        pack_seconds=wall / len(packs),
    )


def _widest(tables: Sequence[pa.Table]) -> int:
    """Bytes of the largest column: what opening has in memory twice."""
    return max(column.nbytes for table in tables for column in table.columns)


def _count(packs: Sequence[Sequence[Example]]) -> int:
    return sum(len(pack) for pack in packs)


def _reading(table: pa.Table) -> float:
    """Seconds a row to read such a table of a part's length."""
    if not len(table):
        return 0.0
    many = pa.concat_tables([table] * -(-TABLE_ROWS // len(table))).slice(0, TABLE_ROWS)
    sink = io.BytesIO()
    pq.write_table(many, sink, compression="zstd")
    data, seconds = sink.getvalue(), []
    for _ in range(TIMES):
        started = time.perf_counter()
        sha256_bytes(data)
        joined([parquet_table(data)])
        seconds.append(time.perf_counter() - started)
    return min(seconds) / len(many)


def _is_kept(stage: PlannedStage, store: Store) -> bool:
    return store.exists(plan_key(stage.plan.digest))


def this_cluster(
    config: RunConfig,
    *,
    ranks: int | None,
    nodes: int | None,
    cpus: int | None,
    memory_gb: float | None,
    network_gbit: float | None,
    step_seconds: float | None,
) -> Cluster:
    """What is asked for, else what the run says of its launch, else this machine."""
    count = nodes or config.launch.nodes
    world = ranks or count * config.launch.ranks_per_node
    told = config.launch.memory_mb_per_rank * 2**20 * -(-world // count)
    here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Cluster(
        ranks=world,
        nodes=count,
        workers=config.engine.loader_workers,
        cpus=cpus or len(os.sched_getaffinity(0)),
        step_seconds=step_seconds,
        network=network_gbit * 1e9 / 8 if network_gbit else None,
        memory=memory_gb * 2**30 if memory_gb else told or here,
    )
