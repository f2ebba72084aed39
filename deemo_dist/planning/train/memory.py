"""Memory of one rank by kind, as DeepSpeed's ZeRO lays it out (Rajbhandari et al. 2020, arXiv 1910.02054).

Read off DeepSpeed 0.19's ``runtime/zero`` and measured on real ranks: under ZeRO-3 every parameter is padded to the
ranks and cut, the optimizer keeps an fp32 copy of what trains (in fp32 training too), gradients are summed in fp32
where the engine says so (ours does), the reduce bucket is allocated whole, and up to ``stage3_max_live_parameters``
gathered elements stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from deemo_dist.planning.train.hardware import GIB
from deemo_dist.planning.train.trace import Unit

ADAM = 8
"""Bytes of Adam's two fp32 moments an element."""
FP32 = 4
MAX_LIVE = 1_000_000_000
SUB_GROUP = 1_000_000_000
SWAP = 36
"""Bytes of a disk for a trained element that is swapped to it: the optimizer's state, and its copies for a checkpoint
and from one (the training room's ``SWAP_BYTES``)."""
SWAPPED = 50_000_000
"""Elements of a rank that a large model swaps at once (the engine's ``MAX_SUB_GROUP``)."""
SWAP_BUFFERS = 4
"""fp32 buffers of a sub-group's size that are swapped through."""
CHECKPOINT = ADAM + FP32
"""Bytes of a checkpoint for a trained element: its value and two moments, in fp32."""
CONTEXT = round(1.5 * GIB)
"""CUDA's context and NCCL's buffers [ours]."""
FRAGMENTATION = 0.05
"""Share of a GPU's memory that its allocator cannot use [ours]."""
ELSEWHERE = ("host", "snapshot", "restored", "disk")
"""Kinds of bytes that are not on the device."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """Elements of a parameter, and whether it trains."""

    elements: int
    trains: bool


@dataclass(frozen=True, kw_only=True)
class Zero:
    """How the engine cuts and where it keeps. ``bytes``: of an element in the working precision; sizes in elements.
    ``gradient_bytes``: of one of a summed gradient (0: the same). ``hpz``: ranks among which ZeRO++'s second copy
    of the parameters is cut. ``swapped``: elements of a sub-group of the optimizer on a disk (0: it is on none).
    """

    stage: Literal[0, 1, 2, 3]
    bytes: int
    gradient_bytes: int = 0
    offload_optimizer: bool = False
    offload_parameters: bool = False
    swapped: int = 0
    reduce_bucket: int = 0
    persist_below: int = 0
    overlap: bool = False
    max_live: int = MAX_LIVE
    hpz: int = 1
    quantised_weights: bool = False
    quantised_gradients: bool = False

    @property
    def summed(self) -> int:
        """Bytes of an element of a gradient as it is added up over micro-steps and ranks."""
        return self.gradient_bytes or self.bytes

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Zero":
        """From the dictionary that DeepSpeed is given."""
        zero = settings["zero_optimization"]
        on_disk = zero.get("offload_optimizer", {}).get("device") == "nvme"
        return cls(
            stage=zero["stage"],
            bytes=2 if settings.get("bf16", {}).get("enabled") else FP32,
            gradient_bytes=FP32 if settings.get("data_types", {}).get("grad_accum_dtype") == "fp32" else 0,
            offload_optimizer=zero.get("offload_optimizer", {}).get("device", "none") != "none",
            offload_parameters=zero.get("offload_param", {}).get("device", "none") != "none",
            swapped=int(zero["sub_group_size"]) if on_disk else 0,
            reduce_bucket=int(zero.get("reduce_bucket_size", 0)),
            persist_below=int(zero.get("stage3_param_persistence_threshold", 0)),
            overlap=bool(zero.get("overlap_comm", False)),
            max_live=int(zero.get("stage3_max_live_parameters", MAX_LIVE)),
            hpz=int(zero.get("zero_hpz_partition_size", 1)),
            quantised_weights=bool(zero.get("zero_quantized_weights", False)),
            quantised_gradients=bool(zero.get("zero_quantized_gradients", False)),
        )


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one rank on its device by kind. In its host's memory, whatever the device is: ``host``: of what is
    offloaded; ``snapshot``: the copy of the state that a checkpoint is written from, held from before the first step
    on; ``restored``: what is read of a checkpoint until it is known to be whole. ``disk``: on its host's disk, those
    two included where the optimizer is there.

    ``parameters gradients optimizer``: what ZeRO cuts. ``gathered``: whole parameters for the moment. ``buckets``:
    of the collectives. ``update``: gradients in fp32 while the optimizer runs. ``activations``: kept for the backward
    pass, and what one layer needs meanwhile. ``logits``: of the labels, with their gradients. ``buffers``: of the
    model's own tensors that do not train. ``reserve``: what the device's runtime and allocator take.
    """

    parameters: float
    gradients: float
    optimizer: float
    gathered: float
    buckets: float
    update: float
    activations: float
    logits: float
    buffers: float
    reserve: float
    host: float
    snapshot: float = 0.0
    restored: float = 0.0
    disk: float = 0.0

    @property
    def total(self) -> float:
        """Bytes on the device at the highest moment: the update comes when activations and logits are gone."""
        return self._held + max(self._passing, self.update)

    @property
    def on_host(self) -> float:
        """Bytes in the host's memory beside a GPU at the highest moment: a training that goes back to its last
        checkpoint reads that with its own snapshot still there."""
        return self.host + self.snapshot + self.restored

    @property
    def on_cpu(self) -> float:
        """Bytes where the host is the device, at the highest moment: no step runs while a checkpoint is read."""
        held = self._held - self.reserve + self.host + self.snapshot
        return held + max(self._passing, self.update, self.restored)

    @property
    def _held(self) -> float:
        """Bytes that stay on the device."""
        return self.parameters + self.gradients + self.optimizer + self.buckets + self.buffers + self.reserve

    @property
    def _passing(self) -> float:
        """Bytes of a forward and backward pass."""
        return self.activations + self.logits + self.gathered

    def kinds(self) -> dict[str, float]:
        """Bytes by kind, on the device."""
        return {part.name: getattr(self, part.name) for part in fields(self) if part.name not in ELSEWHERE}


def cut(parameters: Sequence[Parameter], ranks: int, *, trains: bool) -> int:
    """Elements of a rank's share of the parameters that train, or of those that do not: each padded to the ranks."""
    return sum(-(-each.elements // ranks) for each in parameters if each.trains is trains)


def memory(
    parameters: Sequence[Parameter],
    zero: Zero,
    *,
    ranks: int,
    pack: Unit | None = None,
    labels: Unit | None = None,
    checkpointing: bool = False,
    buffers: float = 0.0,
    device: int = 0,
) -> Memory:
    """The plan for one of ``ranks``. ``pack``: the largest pack's units, its labels' excepted, which are ``labels``;
    ``device``: bytes of a GPU's memory, 0 for a CPU (no reserve)."""
    trains = sum(each.elements for each in parameters if each.trains)
    frozen = sum(each.elements for each in parameters if not each.trains)
    whole = _states(parameters, zero, ranks)
    copied = zero.bytes < FP32 and not zero.offload_optimizer
    update = min(cut(parameters, ranks, trains=True), SUB_GROUP) * float(FP32) if copied else 0.0
    saved = 0.0 if zero.swapped else float(CHECKPOINT * _owned(parameters, zero, ranks))
    return Memory(
        parameters=0.0 if zero.offload_parameters else whole["parameters"],
        gradients=0.0 if zero.offload_optimizer else whole["gradients"],
        optimizer=0.0 if zero.offload_optimizer else whole["optimizer"],
        gathered=_gathered(parameters, zero, trains + frozen) if zero.stage == 3 and ranks > 1 else 0.0,
        buckets=_buckets(zero),
        update=update,
        activations=_activations(pack, checkpointing),
        logits=labels.saved + labels.layer if labels else 0.0,
        buffers=buffers,
        reserve=CONTEXT + FRAGMENTATION * device if device else 0.0,
        host=_host(whole, zero, parameters, ranks),
        snapshot=saved,
        restored=saved,
        disk=float(SWAP * cut(parameters, ranks, trains=True)) if zero.swapped else 0.0,
    )


def export_bytes(parameters: Sequence[Parameter], zero: Zero) -> float:
    """Bytes of the first rank's host while the trained model is exported: one copy in the working precision, and a
    part (its largest parameter, as it is merged in fp32, twice)."""
    largest = max((each.elements for each in parameters), default=0)
    return float(sum(each.elements for each in parameters) * zero.bytes + 2 * FP32 * largest)


def _buckets(zero: Zero) -> float:
    """Bytes of the buffers in which gradients are reduced: what is sent in fewer bits starts in the working ones. A
    second one to fill meanwhile has ZeRO-1 and 2 alone."""
    size = zero.bytes if zero.quantised_gradients else zero.summed
    count = 2 if zero.overlap and zero.stage < 3 else 1
    return float(zero.reduce_bucket * size * count) if zero.stage else 0.0


def _states(parameters: Sequence[Parameter], zero: Zero, ranks: int) -> dict[str, float]:
    """Bytes of parameters, gradients and optimizer of a rank, wherever they are."""
    mine, others = cut(parameters, ranks, trains=True), cut(parameters, ranks, trains=False)
    trains, frozen = cut(parameters, 1, trains=True), cut(parameters, 1, trains=False)
    held = mine + others if zero.stage == 3 else trains + frozen
    second = (trains + frozen) / zero.hpz if zero.stage == 3 and zero.hpz > 1 else 0.0
    owned = _owned(parameters, zero, ranks)
    return {
        "parameters": (held + second) * float(zero.bytes),
        "gradients": (owned if zero.stage >= 2 else trains) * float(zero.summed),
        "optimizer": owned * float(ADAM + FP32),
    }


def _owned(parameters: Sequence[Parameter], zero: Zero, ranks: int) -> int:
    """Trained elements whose optimizer's state is a rank's own, which it saves."""
    if zero.stage == 3:
        return cut(parameters, ranks, trains=True)
    trains = cut(parameters, 1, trains=True)
    return -(-trains // ranks) if zero.stage else trains


def _gathered(parameters: Sequence[Parameter], zero: Zero, total: int) -> float:
    """Whole parameters that are there at once: those below the threshold for good, the others up to the limit."""
    largest = max((each.elements for each in parameters), default=0)
    persistent = sum(each.elements for each in parameters if each.elements < zero.persist_below)
    return float(min(total, max(zero.max_live, largest) + persistent) * zero.bytes)


def _activations(pack: Unit | None, checkpointing: bool) -> float:
    if pack is None:
        return 0.0
    return (pack.saved_checkpointed if checkpointing else pack.saved) + pack.layer


def _host(whole: Mapping[str, float], zero: Zero, parameters: Sequence[Parameter], ranks: int) -> float:
    """Bytes of a rank in its host's memory: what is offloaded, and the fp32 gradients that the CPU's Adam reads; of a
    state on a disk, what it is swapped through."""
    mine = cut(parameters, ranks, trains=True)
    largest = max((-(-each.elements // ranks) for each in parameters if each.trains), default=0)
    through = float(SWAP_BUFFERS * FP32 * min(mine, zero.swapped + largest))
    state = through if zero.swapped else whole["optimizer"]
    optimizer = whole["gradients"] + state + mine * float(FP32) if zero.offload_optimizer else 0.0
    return optimizer + (whole["parameters"] if zero.offload_parameters else 0.0)


def other_ways(zero: Zero) -> dict[str, Zero]:
    """The same engine at every stage, and with what it can offload."""
    here = replace(zero, offload_optimizer=False, offload_parameters=False, swapped=0)
    third = replace(here, stage=3)
    return {
        "ZeRO-0": replace(here, stage=0),
        "ZeRO-1": replace(here, stage=1),
        "ZeRO-2": replace(here, stage=2),
        "ZeRO-3": third,
        "ZeRO-3, optimizer on the host": replace(third, offload_optimizer=True),
        "ZeRO-3, all on the host": replace(third, offload_optimizer=True, offload_parameters=True),
    }
