"""A stage of a run on a cluster: does it fit, how fast is it, how long does it take, and what would help."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from deemo_dist.planning.train.hardware import GIB
from deemo_dist.planning.train.memory import SWAPPED, Memory, Parameter, Zero, export_bytes, memory
from deemo_dist.planning.train.roofline import Cluster, StepTime, hiding_packs, step_time
from deemo_dist.planning.train.trace import Costs, Unit
from deemo_dist.planning.train.work import Pack, cost

DAY = 86_400.0
SMALLER = (0.75, 0.5, 0.25)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage as capacity needs it. ``mean`` and ``largest`` pack; ``packs`` of the whole stage, ``packs_per_step`` of
    a step; ``slowest(ranks)``: the dearest rank's work in a micro-step over the mean pack's; ``buffers``: bytes."""

    name: str
    parameters: tuple[Parameter, ...]
    costs: Costs
    mean: Pack
    largest: Pack
    packs: int
    packs_per_step: int
    buffers: float
    checkpointing: bool
    zero: Zero
    slowest: Callable[[int], float] = lambda ranks: 1.0


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """One stage on one cluster. ``steps`` of ``packs_per_step`` packs (raised to the ranks where the stage has fewer);
    ``available`` bytes of a rank's device and ``host`` of its share of the node's memory; ``export``: bytes of a
    ``node``'s memory that the model's export takes; rates over all ranks;
    ``hiding_tokens``: a rank's tokens in a micro-step that hide its traffic; ``advice``: what to change, best first."""

    stage: str
    ranks: int
    nodes: int
    packs_per_step: int
    memory: Memory
    available: int
    host: float
    export: float
    node: float
    time: StepTime
    steps: int
    tokens_per_second: float
    samples_per_second: float
    hiding_tokens: float
    advice: tuple[str, ...]

    @property
    def flops(self) -> float:
        """Operations that the model needs in a step, all ranks."""
        return self.time.flops * self.packs_per_step

    @property
    def fits(self) -> bool:
        """Are the device's and the node's memory enough?"""
        trains = self.memory.total <= self.available and self.memory.on_host <= self.host
        return trains and self.export <= self.node

    @property
    def days(self) -> float:
        """Of the whole stage."""
        return self.steps * self.time.seconds / DAY

    @property
    def gpu_hours(self) -> float:
        """Of the whole stage, all ranks."""
        return self.steps * self.time.seconds / 3600 * self.ranks


def capacity(stage: Stage, cluster: Cluster, *, efficiency: float | None = None, overlap: float = 1.0) -> Capacity:
    """``stage`` on ``cluster``; ``efficiency`` in place of the GPU's."""
    unit = cost(stage.mean, stage.costs)
    per_step = max(stage.packs_per_step, cluster.ranks)
    micro = -(-per_step // cluster.ranks)
    time = step_time(
        cluster,
        stage.parameters,
        stage.zero,
        unit,
        micro=micro,
        packs=per_step,
        slowest=stage.slowest(cluster.ranks),
        checkpointing=stage.checkpointing,
        efficiency=efficiency,
        overlap=overlap,
    )
    needed = stage_memory(stage, cluster)
    packs_per_second = per_step / time.seconds
    found = Capacity(
        stage=stage.name,
        ranks=cluster.ranks,
        nodes=cluster.nodes,
        packs_per_step=per_step,
        memory=needed,
        available=cluster.gpu.memory,
        host=cluster.host,
        export=export_bytes(stage.parameters, stage.zero),
        node=cluster.node,
        time=time,
        steps=-(-stage.packs // per_step),
        tokens_per_second=stage.mean.tokens * packs_per_second,
        samples_per_second=stage.mean.samples * packs_per_second,
        hiding_tokens=stage.mean.tokens * hiding_packs(time, overlap=overlap),
        advice=(),
    )
    return replace(found, advice=advice(stage, cluster, found))


def stage_memory(stage: Stage, cluster: Cluster) -> Memory:
    """Bytes of one rank at its largest pack."""
    pack, labels = _split(stage.largest, stage.costs)
    return memory(
        stage.parameters,
        stage.zero,
        ranks=cluster.ranks,
        pack=pack,
        labels=labels,
        checkpointing=stage.checkpointing,
        buffers=stage.buffers,
        device=cluster.gpu.memory,
    )


def fits(stage: Stage, cluster: Cluster) -> bool:
    """Are the device's and the node's memory enough for a rank?"""
    needed = stage_memory(stage, cluster)
    return needed.total <= cluster.gpu.memory and needed.on_host <= cluster.host


def _split(pack: Pack, costs: Costs) -> tuple[Unit, Unit]:
    """The pack's work without its labels', and theirs."""
    return cost(replace(pack, labels=0.0), costs), costs.label.times(pack.labels)


def advice(stage: Stage, cluster: Cluster, found: Capacity) -> tuple[str, ...]:
    """What to change: first to fit, then to be faster. Each change is tried out before it is named."""
    told: list[str] = []
    if found.packs_per_step > stage.packs_per_step:
        told.append(f"packs_per_step={found.packs_per_step} at least (now {stage.packs_per_step}): a pack a rank")
    if not fits(stage, cluster):
        told.append(_to_fit(stage, cluster))
    elif found.time.exposed > 0.05 * found.time.seconds / found.time.micro:
        told.append(_to_hide(stage, found))
    if found.export > found.node:
        told.append(f"{found.export / GIB:,.0f} GiB of memory in the first node: the model is exported there")
    return tuple(told)


def _to_fit(stage: Stage, cluster: Cluster) -> str:
    """The first change, or two of them, under which the stage fits."""
    for name, changed in _changes(stage):
        if fits(changed, cluster):
            return name
    for factor in (2, 4, 8, 16, 32, 64):
        more = replace(cluster, ranks=cluster.ranks * factor)
        for name, changed in (("", stage), *_changes(stage)):
            if fits(changed, more):
                return " and ".join(part for part in (f"{more.ranks} GPUs", name) if part)
    return "a larger GPU or a smaller model: nothing here makes room enough"


def _changes(stage: Stage) -> list[tuple[str, Stage]]:
    """Changes in the order in which one would try them: what costs the least time first."""
    zero, now = stage.zero, stage
    changes: list[tuple[str, Stage]] = []
    told: list[str] = []

    def add(name: str, changed: Stage) -> Stage:
        told.append(name)
        changes.append((" and ".join(told), changed))
        return changed

    if zero.stage < 3:
        now = add("engine.zero_stage=3", replace(now, zero=replace(zero, stage=3)))
    if not stage.checkpointing:
        now = add("engine.gradient_checkpointing=true", replace(now, checkpointing=True))
    changes += _smaller(now, told)
    if not zero.offload_optimizer:
        offloaded = replace(now.zero, offload_optimizer=True, offload_parameters=True)
        now = add("engine.offload=cpu", replace(now, zero=offloaded))
        changes += _smaller(now, told)
    if not now.zero.swapped:
        told[:] = [name for name in told if name != "engine.offload=cpu"]
        on_disk = replace(now.zero, offload_optimizer=True, offload_parameters=True, swapped=SWAPPED)
        now = add("engine.offload=nvme", replace(now, zero=on_disk))
        changes += _smaller(now, told)
    return changes


def _smaller(stage: Stage, told: Sequence[str]) -> list[tuple[str, Stage]]:
    """The stage with smaller packs."""
    found = []
    for share in SMALLER:
        parts = {name: value * share for name, value in vars(stage.largest).items()}
        name = f"packs of {share:.0%} (max_tokens, max_frames, max_audio_seconds)"
        found.append((" and ".join([*told, name]), replace(stage, largest=Pack(**parts))))
    return found


def _to_hide(stage: Stage, found: Capacity) -> str:
    """How to hide the network."""
    tokens, have = found.hiding_tokens, stage.mean.tokens
    larger = f"packs of {tokens:,.0f} tokens hide the traffic (now {have:,.0f})"
    if stage.zero.stage == 3 and found.nodes > 1 and stage.zero.hpz == 1:
        return f"{larger}; or engine.hpz={found.ranks // found.nodes}: gather inside the node"
    return larger
