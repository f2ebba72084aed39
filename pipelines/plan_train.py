"""``deemo plan train``: what a run's stages need and take on GPUs that are not here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deemo_dist.config import LaunchConfig, RunConfig, StageConfig
from deemo_dist.errors import ConfigError, DeemoError
from deemo_dist.planning.train.capacity import Capacity, Stage, capacity
from deemo_dist.planning.train.hardware import GIB, Gpu, Network, gpu_of, network_of
from deemo_dist.planning.train.memory import Parameter, Zero, other_ways
from deemo_dist.planning.train.roofline import Cluster
from pipelines.stage_model import stage_model
from pipelines.workload import Workload, assumed, planned

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked for: numbers of GPUs, their kind, the network of a node, its memory in bytes (0: as the run's
    launch has it, else the GPU's usual node), and what to assume."""

    gpus: tuple[int, ...]
    gpu: Gpu
    network: Network
    per_node: int
    ram: float = 0.0
    samples: int | None = None
    efficiency: float | None = None
    overlap: float = 1.0


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """A stage: parameters by part as (all, trained), the pack it was planned for, and a row for each number of GPUs.

    ``ways``: total bytes a GPU by way of cutting (ZeRO-0 to 3, offloaded; with ``, checkpointed``), one for each number
    of GPUs. ``workload``: where the packs come from.
    """

    name: str
    parts: dict[str, tuple[int, int]]
    workload: Workload
    checkpointing: bool
    precision: str
    rows: tuple[Capacity, ...]
    ways: dict[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """The whole run's plan."""

    run: str
    model: str
    asked: Asked
    stages: tuple[StagePlan, ...]

    def total(self, number: int) -> tuple[float, float]:
        """Days and GPU-hours of all stages on the ``number``-th count of GPUs."""
        rows = [stage.rows[number] for stage in self.stages]
        return sum(row.days for row in rows), sum(row.gpu_hours for row in rows)


def asked_for(
    gpus: str,
    gpu: str,
    net: str,
    *,
    per_node: int | None = None,
    memory_gb: float | None = None,
    samples: int | None = None,
    efficiency: float | None = None,
    overlap: float = 1.0,
) -> Asked:
    """The command line's words, checked. Raises ``ConfigError``."""
    try:
        counts = tuple(int(part) for part in gpus.split(","))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        raise ConfigError(f"--gpus '{gpus}' are no numbers of GPUs", hint="such as 8,64,512")
    if (efficiency is not None and not 0 < efficiency <= 1) or not 0 <= overlap <= 1:
        raise ConfigError("--efficiency and --overlap are shares between 0 and 1")
    kind = gpu_of(gpu)
    return Asked(
        gpus=counts,
        gpu=kind,
        network=network_of(net),
        per_node=per_node or kind.per_node,
        ram=(memory_gb or 0.0) * GIB,
        samples=samples,
        efficiency=efficiency,
        overlap=overlap,
    )


def plan_train(config: RunConfig, asked: Asked) -> TrainPlan:
    """Plan every stage. Packs are those of the run's dataset where it is there and ``asked.samples`` is not given.

    Raises ``ConfigError``, ``ModelError`` or ``TrainingError`` for a run that could not be trained either.
    """
    if not config.stages:
        raise ConfigError(f"the run '{config.name}' has no stages", hint="take a base such as stages/demo")
    workloads = _workloads(config, asked)
    stages = tuple(_stage(config, name, workloads[name], asked) for name in config.stages)
    return TrainPlan(run=config.name, model=config.model.name, asked=asked, stages=stages)


def _workloads(config: RunConfig, asked: Asked) -> dict[str, Workload]:
    """The packs of each stage: of the dataset, or assumed where there is none."""
    if asked.samples is None:
        try:
            return planned(config)
        except DeemoError as error:
            why = str(error)
            return {name: assumed(config, stage, None, why) for name, stage in config.stages.items()}
    return {name: assumed(config, stage, asked.samples, "") for name, stage in config.stages.items()}


def _stage(config: RunConfig, name: str, workload: Workload, asked: Asked) -> StagePlan:
    stage, parts = stage_shape(config, name, workload, on_gpu=True)
    ram = asked.ram or ram_of(config.launch, asked.per_node)
    clusters = [
        Cluster(gpu=asked.gpu, network=asked.network, ranks=ranks, per_node=asked.per_node, ram=ram)
        for ranks in asked.gpus
    ]
    rows = tuple(capacity(stage, cluster, efficiency=asked.efficiency, overlap=asked.overlap) for cluster in clusters)
    return StagePlan(
        name=name,
        parts=parts,
        workload=workload,
        checkpointing=stage.checkpointing,
        precision=config.engine.precision,
        rows=rows,
        ways=_ways(stage, clusters),
    )


def ram_of(launch: LaunchConfig, per_node: int) -> float:
    """Bytes of memory that a node of so many ranks is asked to have (0: nothing is said)."""
    return float(launch.memory_mb_per_rank * 2**20 * per_node)


def stage_shape(
    config: RunConfig, name: str, workload: Workload, *, on_gpu: bool, model: "nn.Module | None" = None
) -> tuple[Stage, dict[str, tuple[int, int]]]:
    """A stage as capacity needs it, counted on the model's own modules without values, and its parameters by part.
    ``model``: the stage's, where it is made already."""
    from pipelines.costs import stage_costs

    settings = config.stages[name]
    model = stage_model(config, name) if model is None else model
    parameters = tuple(
        Parameter(elements=parameter.numel(), trains=parameter.requires_grad) for parameter in model.parameters()
    )
    stage = Stage(
        name=name,
        parameters=parameters,
        costs=stage_costs(config, name, model),
        mean=workload.mean,
        largest=workload.largest,
        packs=workload.packs,
        packs_per_step=settings.packs_per_step,
        buffers=float(sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())),
        checkpointing=config.engine.gradient_checkpointing,
        zero=_zero(config, settings, parameters, on_gpu=on_gpu),
        slowest=workload.slowest,
    )
    return stage, _parts(model)


def _zero(config: RunConfig, stage: StageConfig, parameters: Sequence[Parameter], *, on_gpu: bool) -> Zero:
    """From the very settings that DeepSpeed would be given."""
    from deemo_dist.training.engine_config import deepspeed_config

    return Zero.of(
        deepspeed_config(
            config.engine,
            micro_steps=1,
            max_grad_norm=stage.max_grad_norm,
            largest_param=max(each.elements for each in parameters),
            largest_trained=max((each.elements for each in parameters if each.trains), default=1),
            trainable_params=sum(each.elements for each in parameters if each.trains),
            on_gpu=on_gpu,
        )
    )


def _parts(model: "nn.Module") -> dict[str, tuple[int, int]]:
    """Parameters by part as (all, trained)."""
    from deemo_dist.model import describe

    return {name: (count.parameters, count.trainable) for name, count in describe(model).items()}


def _ways(stage: Stage, clusters: Sequence[Cluster]) -> dict[str, tuple[float, ...]]:
    """Total bytes a GPU for every way of cutting, without and with gradient checkpointing."""
    from deemo_dist.planning.train.capacity import stage_memory

    found = {}
    for name, zero in other_ways(stage.zero).items():
        for checkpointing in (False, True):
            changed = replace(stage, zero=zero, checkpointing=checkpointing)
            label = f"{name}, checkpointed" if checkpointing else name
            found[label] = tuple(stage_memory(changed, cluster).total for cluster in clusters)
    return found
