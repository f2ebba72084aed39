"""How much memory there is for a rank: of its GPU, or of this machine that the ranks share."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deemo_dist.config import EngineConfig, RunConfig
from deemo_dist.environ import gpus
from deemo_dist.planning.train.hardware import Gpu, Network, gpu_of, network_of
from deemo_dist.planning.train.memory import Memory


@dataclass(frozen=True, kw_only=True)
class Room:
    """``available`` bytes ``what`` (words), what a plan needs of them, and the GPU that stands for the device."""

    gpu: Gpu
    network: Network
    per_node: int
    on_gpu: bool
    available: int
    what: str
    needs: Callable[[Memory], float]


def here(config: RunConfig, world: int, gpu: str | None) -> Room:
    """The room of a rank of ``world``: on the GPU called ``gpu``, else on this machine's GPUs, else in its memory,
    which the ranks share (each with the libraries that this process has loaded)."""
    import torch

    network = network_of("400g")
    if gpu is not None:
        kind = gpu_of(gpu)
        return Room(
            gpu=kind,
            network=network,
            per_node=kind.per_node,
            on_gpu=True,
            available=kind.memory,
            what=f"on each {kind.name}",
            needs=lambda plan: plan.total,
        )
    if gpus():
        held = int(torch.cuda.mem_get_info()[1])
        return Room(
            gpu=replace(gpu_of("h100"), name="here", memory=held),
            network=network,
            per_node=torch.cuda.device_count(),
            on_gpu=True,
            available=held,
            what="on each GPU here",
            needs=lambda plan: plan.total,
        )
    ranks = min(world, config.engine.ranks)
    base = _libraries()
    return Room(
        gpu=gpu_of("h100"),
        network=network,
        per_node=max(1, ranks),
        on_gpu=False,
        available=memory_available(),
        what=f"of this machine, {ranks} ranks together",
        needs=lambda plan: ranks * (plan.total - plan.reserve + plan.host + base),
    )


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
