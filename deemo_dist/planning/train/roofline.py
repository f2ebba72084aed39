"""How long a step takes: the slowest of arithmetic, memory and network, by ZeRO's traffic.

One micro-step of ZeRO-3 gathers every parameter for the forward and again for the backward pass, and reduces the
gradients of what trains. A ring over nodes crosses each node's network once, so its rate is that of the slower of a
node's network and the links inside it. ZeRO++ (Wang et al. 2023, arXiv 2306.10209): ``hpz`` gathers the second time
inside the node, quantised weights move 1 byte an element, quantised gradients a quarter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from deemo_dist.planning.train.accounting import utilisation
from deemo_dist.planning.train.hardware import Gpu, Network
from deemo_dist.planning.train.memory import ADAM, FP32, Parameter, Zero, cut
from deemo_dist.planning.train.trace import Unit

NVME = 5e9
"""Bytes/s of a node's local disks, read or written, all its ranks together [ours]."""
ADAM_TRAFFIC = 7 * FP32
"""Bytes an element that Adam moves: parameter, gradient and two moments read, the first and the moments written."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """``ranks`` GPUs of a kind, ``per_node`` of them in each node, which has ``ram`` bytes of memory (0: as many as the
    GPU's usual node)."""

    gpu: Gpu
    network: Network
    ranks: int
    per_node: int
    ram: float = 0.0

    @property
    def nodes(self) -> int:
        """Nodes in use."""
        return -(-self.ranks // self.per_node)

    @property
    def node(self) -> float:
        """Bytes of a node's memory."""
        return float(self.ram or self.gpu.ram)

    @property
    def host(self) -> float:
        """Bytes of the node's memory for each of its ranks."""
        return self.node / min(self.ranks, self.per_node)

    def ring(self, *, inside: bool = False) -> float:
        """Bytes/s of a ring of collectives over all ranks, or of one node's."""
        alone = inside or self.nodes == 1
        return self.gpu.link if alone else min(self.gpu.link, self.network.node)


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """Seconds of one micro-step on a rank by what takes them, of the update, and of the whole step of ``micro``
    micro-steps. ``exposed``: of the network's, what the arithmetic does not hide. ``flops``: operations that the
    model needs for a pack; ``mfu``: of the whole step, null packs counted as nothing."""

    micro: int
    compute: float
    memory: float
    between: float
    within: float
    exposed: float
    update: float
    seconds: float
    flops: float
    mfu: float
    bound: str


def traffic(parameters: Sequence[Parameter], zero: Zero, ranks: int) -> tuple[float, float, float]:
    """Bytes that pass a link of the ring in one micro-step, and once a step: (over all ranks, inside a node only,
    once)."""
    total = sum(each.elements for each in parameters)
    trains = sum(each.elements for each in parameters if each.trains)
    part = (ranks - 1) / ranks
    if zero.stage < 3:
        gathered = trains * zero.bytes * part if zero.stage else 0.0
        reduced = trains * zero.summed * part * (1 if zero.stage else 2)
        return (reduced, 0.0, gathered) if zero.stage == 2 else (0.0, 0.0, gathered + reduced)
    gather = total * (1 if zero.quantised_weights else zero.bytes) * part
    reduce = trains * part * (0.25 * zero.bytes if zero.quantised_gradients else zero.summed)
    again = total * zero.bytes * (zero.hpz - 1) / zero.hpz if zero.hpz > 1 else 0.0
    return (gather + reduce, again, 0.0) if zero.hpz > 1 else (2 * gather + reduce, 0.0, 0.0)


def step_time(
    cluster: Cluster,
    parameters: Sequence[Parameter],
    zero: Zero,
    pack: Unit,
    *,
    micro: int,
    packs: int | None = None,
    slowest: float = 1.0,
    checkpointing: bool = False,
    efficiency: float | None = None,
    overlap: float = 1.0,
) -> StepTime:
    """One step of ``micro`` micro-steps of the mean ``pack`` a rank, of ``packs`` in all (None: one for every rank in
    each); ``slowest``: how much more the dearest rank's pack costs in a micro-step. ``overlap``: share of the
    arithmetic's time behind which traffic can hide."""
    peak = cluster.gpu.peak if zero.bytes == 2 else cluster.gpu.peak_fp32
    flops = pack.forward + pack.backward
    done = flops + (pack.recompute if checkpointing else 0.0)
    reached = efficiency or (cluster.gpu.recomputing if checkpointing else cluster.gpu.efficiency)
    compute = done * slowest / (peak * reached)
    memory = _memory_traffic(parameters, zero, pack, checkpointing) / cluster.gpu.bandwidth
    across, again, once = traffic(parameters, zero, cluster.ranks)
    between, within = across / cluster.ring(), again / cluster.ring(inside=True)
    work = max(compute, memory)
    exposed = max(0.0, between + within - (overlap if zero.overlap else 0.0) * work)
    update = _update(parameters, zero, cluster) + once / cluster.ring()
    seconds = micro * (work + exposed) + update
    shown = micro if packs is None else packs / cluster.ranks
    bounds = {"arithmetic": compute, "memory": memory, "network": between + within}
    return StepTime(
        micro=micro,
        compute=compute,
        memory=memory,
        between=between,
        within=within,
        exposed=exposed,
        update=update,
        seconds=seconds,
        flops=flops,
        mfu=utilisation(flops * shown, seconds, peak),
        bound=max(bounds, key=lambda name: bounds[name]),
    )


def hiding_packs(time: StepTime, *, overlap: float = 1.0) -> float:
    """How many times the pack must be, for its arithmetic to hide the traffic of its micro-step."""
    return (time.between + time.within) / (time.compute * overlap) if time.compute and overlap else float("inf")


def _memory_traffic(parameters: Sequence[Parameter], zero: Zero, pack: Unit, checkpointing: bool) -> float:
    """Bytes to and from the device's memory: weights read for each pass, kept tensors written once and read twice."""
    total = sum(each.elements for each in parameters)
    passes = 3 if checkpointing else 2
    return total * zero.bytes * (passes + 1) + 3 * pack.saved


def _update(parameters: Sequence[Parameter], zero: Zero, cluster: Cluster) -> float:
    """Seconds of Adam over a rank's share; over the link to the host where the optimizer is there, and to and from the
    node's disks where its state is."""
    share = cut(parameters, cluster.ranks if zero.stage else 1, trains=True)
    if zero.offload_optimizer:
        disk = share * 2 * (ADAM + FP32) / (NVME / min(cluster.ranks, cluster.per_node)) if zero.swapped else 0.0
        return share * (FP32 + zero.bytes) / cluster.gpu.host + disk
    return share * ADAM_TRAFFIC / cluster.gpu.bandwidth
