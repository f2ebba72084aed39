"""How much memory there is for a rank: of its GPU and of its node, or of this machine that the ranks share."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deemo_dist.config import EngineConfig, RunConfig
from deemo_dist.environ import gpus
from deemo_dist.errors import TrainingError
from deemo_dist.planning.train.hardware import GIB, Gpu, Network, gpu_of, network_of
from deemo_dist.planning.train.memory import Memory
from pipelines.plan_train import ram_of

DEVICE_HINT = (
    "engine.gradient_checkpointing=true, smaller packs, engine.offload=cpu or more GPUs: deemo plan train says what "
    "helps"
)
HOST_HINT = (
    "engine.offload=nvme with engine.nvme_path on a local disk keeps the optimizer's state and its checkpoints' copies "
    "there; or more nodes"
)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """``available`` bytes ``where`` (words), what a plan ``needs`` of them, and what to do where they are too few."""

    available: float
    where: str
    needs: Callable[[Memory], float]
    hint: str


@dataclass(frozen=True, kw_only=True)
class Room:
    """The limits of a rank's memory, and the GPU and network that stand for its device."""

    gpu: Gpu
    network: Network
    per_node: int
    on_gpu: bool
    limits: tuple[Limit, ...]


def here(config: RunConfig, world: int, gpu: str | None) -> Room:
    """The room of a rank of ``world``: on the GPU called ``gpu``, else on this machine's GPUs, else in its memory,
    which the ranks share (each with the libraries that this process has loaded). Beside GPUs, their node's memory is
    shared in the same way."""
    if gpu is not None:
        kind = gpu_of(gpu)
        asked = ram_of(config.launch, kind.per_node)
        of = "a node, by launch.memory_mb_per_rank" if asked else f"a usual node of {kind.name}"
        return _beside_gpus(kind, kind.per_node, world, asked or kind.ram, f"on each {kind.name}", of)
    if gpus():
        import torch

        held = replace(gpu_of("h100"), name="here", memory=int(torch.cuda.mem_get_info()[1]))
        return _beside_gpus(
            held, torch.cuda.device_count(), world, memory_available(), "on each GPU here", "this machine"
        )
    ranks = max(1, min(world, config.engine.ranks))
    base = _libraries()
    limit = Limit(
        available=memory_available(),
        where=f"of this machine, {ranks} ranks together",
        needs=lambda plan: ranks * (plan.on_cpu + base),
        hint=DEVICE_HINT,
    )
    return Room(gpu=gpu_of("h100"), network=network_of("400g"), per_node=ranks, on_gpu=False, limits=(limit,))


def _beside_gpus(gpu: Gpu, per_node: int, world: int, ram: float, device: str, node: str) -> Room:
    """The room of ranks on GPUs: the device's memory, and ``ram`` bytes of the node that they share."""
    ranks, base = min(world, per_node), _libraries()
    limits = (
        Limit(available=gpu.memory, where=device, needs=lambda plan: plan.total, hint=DEVICE_HINT),
        Limit(
            available=ram,
            where=f"of the memory of {node}, {ranks} ranks together",
            needs=lambda plan: ranks * (plan.on_host + base),
            hint=HOST_HINT,
        ),
    )
    return Room(gpu=gpu, network=network_of("400g"), per_node=per_node, on_gpu=True, limits=limits)


def within(limit: Limit, plans: Mapping[str, Memory]) -> str:
    """What stages need of a limit, by their ``plans``, in words. Raises ``TrainingError`` where that is more than there
    is, and says so where only the copies that checkpoints pass through are too much."""
    told = []
    for name, plan in plans.items():
        needed, without = limit.needs(plan), limit.needs(replace(plan, snapshot=0.0, restored=0.0))
        if needed > limit.available:
            alone = without <= limit.available
            what = f"stage {name} with its checkpoint's snapshot" if alone else f"stage {name}"
            apart = f" ({without / GIB:.2f} without the snapshot)" if alone else ""
            raise TrainingError(
                f"{what} needs {needed / GIB:.2f} GiB {limit.where}{apart}, {limit.available / GIB:.2f} are there",
                hint=HOST_HINT if alone else limit.hint,
            )
        told.append(f"{name} {needed / GIB:.2f}")
    return f"{', '.join(told)} of {limit.available / GIB:.2f} GiB {limit.where}"


def check_export(place: Room, needed: float) -> str:
    """Does a model's export (bytes) fit into the memory that is the first rank's alone at the end? In words. Raises
    ``TrainingError``."""
    available = place.limits[-1].available - place.per_node * _libraries()
    if needed > available:
        raise TrainingError(
            f"the trained model's export needs {needed / GIB:.2f} GiB on the first rank's machine, "
            f"{max(0.0, available) / GIB:.2f} are there when the training is over",
            hint="a machine with more memory for the first rank, or engine.precision=bf16",
        )
    return f"export {needed / GIB:.2f}"


def check_disk(settings: EngineConfig, trained: Sequence[int], world: int) -> None:
    """Refuse a disk of this machine that its ranks cannot swap the optimizer of so many trained elements (by parameter)
    to. Raises ``TrainingError``."""
    from deemo_dist.training.swap.folder import check_room, check_root, swap_bytes

    check_root(settings.nvme_path)
    check_room(settings.nvme_path, min(world, settings.ranks) * swap_bytes(trained, world))


def _libraries() -> int:
    """What a process of ours holds before any model: this one's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory_available() -> int:
    """Bytes this process may still take: of the machine, and of its control group where that has a limit."""
    free = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemAvailable:")
    )
    return min([free, *_group_limits()])


def _group_limits() -> list[int]:
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if not limit.is_file() or not used.is_file() or limit.read_text().strip() == "max":
        return []
    return [max(0, int(limit.read_text()) - int(used.read_text()))]
