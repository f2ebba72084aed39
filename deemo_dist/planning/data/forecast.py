"""From what windows of a plan ask, and what this machine was measured at, to what a whole run needs; and to what would
break first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from deemo_dist.planning.data.traffic import Traffic

S3_READS_PER_SECOND = 5500
"""GET and HEAD a second that one prefix of a bucket serves before it is split: AWS, "Best practices design patterns:
optimizing Amazon S3 performance". More answers 503 SlowDown until the service has split the prefix."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where it would run. ``step_seconds``, ``network`` (bytes a second and node) and ``memory`` (bytes a node): None
    where nothing is known, and nothing is judged by it."""

    ranks: int
    nodes: int
    workers: int
    cpus: int
    step_seconds: float | None
    network: float | None
    memory: float | None

    @property
    def per_node(self) -> int:
        """Ranks of a node."""
        return -(-self.ranks // self.nodes)

    @property
    def processes(self) -> int:
        """Processes that read, in all."""
        return self.ranks * max(self.workers, 1)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What this machine took, for one of each. ``row_seconds``: opening a sample's rows; ``row_memory``: bytes of them
    in a process at most (opening has the largest column twice); ``row_stored``: bytes of them in the store;
    ``example_memory``: bytes of an example in the plan; ``window_seconds``: making one window; ``sample_seconds``: CPU
    time to read, decode and pack a sample; ``pack_seconds``: from asking for a pack to having it."""

    row_seconds: float
    row_memory: float
    row_stored: float
    example_memory: float
    window_seconds: float
    sample_seconds: float
    pack_seconds: float


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The run: ``samples`` of the dataset and their ``distinct`` examples; ``examples`` shown over all epochs, the
    ``windows`` and ``steps`` they make; ``cache_bytes`` a node may keep; ``requests_per_second`` a process may ask."""

    samples: int
    distinct: int
    examples: int
    windows: int
    steps: int
    cache_bytes: int
    requests_per_second: float


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Something that may be too little: what a step (or the node) ``needs`` of it and what there is, in ``unit``;
    ``says`` what then happens, ``change`` what to do about it. ``load`` above 1 breaks."""

    name: str
    needs: float
    has: float
    unit: str
    says: str
    change: str

    @property
    def load(self) -> float:
        """What is needed over what there is."""
        return self.needs / self.has if self.has > 0 else float("inf")


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run needs. Rates are a step's; seconds are as this machine would take them."""

    requests_per_step: float
    worst_requests: int
    bytes_per_step: float
    requests_per_sample: float
    bytes_per_sample: float
    hit_share: float
    cache_needed: int
    process_memory: float
    node_memory: float
    start_bytes: float
    tabulation_seconds: float
    first_batch_seconds: float
    resume_seconds: float
    fastest_step: float
    limits: tuple[Limit, ...]


@dataclass(frozen=True, kw_only=True)
class _Step:
    """What the mean step asks of all nodes together; ``fetched`` in bytes."""

    samples: float
    requests: float
    fetched: float


def forecast(
    steps: Sequence[Traffic], cache_needed: int, cluster: Cluster, scale: Scale, measured: Measured, table_is_kept: bool
) -> Forecast:
    """``steps``: what each simulated step asked; ``cache_needed``: bytes of a node's cache that keeps every block until
    its window is over."""
    total = Traffic()
    for step in steps:
        total = total.plus(step)
    mean = _mean(total, len(steps))
    process = scale.samples * measured.row_memory + scale.distinct * measured.example_memory
    opening = scale.samples * measured.row_seconds
    tabulating = scale.windows * measured.window_seconds / max(cluster.cpus, 1)
    ready = opening + 2 * measured.window_seconds + measured.pack_seconds
    by_step = [*_store_limits(mean, cluster, scale), *_node_limits(mean, cluster, measured)]
    by_bytes = list(_bytes_limits(cache_needed, process * cluster.per_node, cluster, scale))
    limits = _by_second(by_step, cluster.step_seconds) + by_bytes
    return Forecast(
        requests_per_step=mean.requests,
        worst_requests=max((step.requests for step in steps), default=0),
        bytes_per_step=mean.fetched,
        requests_per_sample=total.requests / max(total.samples, 1),
        bytes_per_sample=total.fetched / max(total.samples, 1),
        hit_share=total.found / total.looked if total.looked else 0.0,
        cache_needed=cache_needed,
        process_memory=process,
        node_memory=process * cluster.per_node,
        start_bytes=scale.samples * measured.row_stored * cluster.per_node,
        tabulation_seconds=tabulating,
        first_batch_seconds=ready + (0.0 if table_is_kept else tabulating),
        resume_seconds=ready,
        fastest_step=max(limit.needs / limit.has for limit in by_step),
        limits=tuple(sorted(limits, key=lambda limit: -limit.load)),
    )


def _mean(total: Traffic, steps: int) -> _Step:
    count = max(steps, 1)
    return _Step(samples=total.samples / count, requests=total.requests / count, fetched=total.fetched / count)


def _store_limits(step: _Step, cluster: Cluster, scale: Scale) -> Iterator[Limit]:
    """Requests: by what one step needs and one second gives."""
    fair = S3_READS_PER_SECOND / cluster.processes
    yield Limit(
        name="requests, of the bucket's prefix",
        needs=step.requests,
        has=S3_READS_PER_SECOND,
        unit="requests",
        says="the service answers 503 SlowDown, and every process halves its rate",
        change="raise storage.cache_block_kb, or ask the provider to split the prefix beforehand; "
        f"storage.requests_per_second={fair:.3g} keeps all processes together within it",
    )
    yield Limit(
        name="requests, of the processes' shares",
        needs=step.requests,
        has=scale.requests_per_second * cluster.processes,
        unit="requests",
        says="reads wait for their turn",
        change="raise storage.requests_per_second, or storage.cache_block_kb",
    )


def _node_limits(step: _Step, cluster: Cluster, measured: Measured) -> Iterator[Limit]:
    """A node's cores and, where it is known, its network: by what one step needs and one second gives."""
    yield Limit(
        name="CPU to decode and pack",
        needs=step.samples / cluster.nodes * measured.sample_seconds,
        has=min(cluster.cpus, cluster.per_node * max(cluster.workers, 1)),
        unit="CPU seconds",
        says="the loop waits for its data",
        change="raise engine.loader_workers as far as there are cores, or lower model.frames",
    )
    if cluster.network:
        yield Limit(
            name="a node's network",
            needs=step.fetched / cluster.nodes,
            has=cluster.network,
            unit="bytes",
            says="the loop waits for its data",
            change="lower storage.cache_block_kb (fewer bytes that other nodes use), or take more nodes",
        )


def _bytes_limits(cached: int, held: float, cluster: Cluster, scale: Scale) -> Iterator[Limit]:
    """A node's cache and memory, where they are known: ``cached`` and ``held`` are the bytes that it needs of them."""
    if scale.cache_bytes:
        yield Limit(
            name="a node's cache",
            needs=cached,
            has=scale.cache_bytes,
            unit="bytes",
            says="blocks are given up before their window is over, and fetched again",
            change="raise storage.cache_mb, or lower the stage's window",
        )
    if cluster.memory:
        yield Limit(
            name="a node's memory, for index and plan alone",
            needs=held,
            has=cluster.memory,
            unit="bytes",
            says="every rank holds the dataset's rows: it is killed while it opens them",
            change="train on a part of the dataset a stage (merge or filter it into several), or take fewer ranks a "
            "node",
        )


def _by_second(limits: Sequence[Limit], step_seconds: float | None) -> list[Limit]:
    """Limits of a step by the time that it takes; none where that is not known."""
    if not step_seconds:
        return []
    return [replace(limit, needs=limit.needs / step_seconds, unit=f"{limit.unit} a second") for limit in limits]
