"""What a step cost: waiting, time, memory, arithmetic; norms of each part's gradients; how randomness is seeded."""

import hashlib
import math
import os
import resource
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from deemo_dist.training.spec import StepBatches
from deemo_dist.training.swap.optimizer import held_gradient

if TYPE_CHECKING:
    from deemo_dist.training.engine import Engine

_PAGE = os.sysconf("SC_PAGE_SIZE")


def rss_bytes() -> int:
    """Resident memory of this process, in bytes (0 where /proc is missing)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def peak_rss_bytes() -> int:
    """The most memory that was ever resident in this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def device_bytes(device: torch.device) -> int:
    """Peak bytes allocated on the accelerator; 0 on a CPU."""
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else 0


def tokens_of(step: StepBatches) -> int:
    """Tokens that this rank feeds in a step: as told, else the elements of ``input_ids``, null packs apart."""
    if step.tokens:
        return step.tokens
    packs = step.packs or range(len(step.batches))
    return sum(_elements(batch.get("input_ids")) for pack, batch in zip(packs, step.batches, strict=True) if pack >= 0)


def _elements(value: Any) -> int:
    return int(value.numel()) if isinstance(value, torch.Tensor) else 0


def seed_micro_step(seed: int, step: int, pack: int) -> None:
    """Reseed torch for one pack, so that dropout does not depend on ranks, order or restarts."""
    text = f"deemo-dropout/{seed}/{step}/{pack}".encode()
    torch.manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1)


@cache
def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second that this rank reaches in a large product of matrices, with the threads it has: what MFU is
    measured against. Takes half a second once a process; ranks that ask together share their machine as in training."""
    size = 8192 if device.type == "cuda" else 1024
    left, right = (torch.full((size, size), 0.5, device=device, dtype=dtype) for _ in range(2))
    best, ends = math.inf, time.perf_counter() + 0.4
    tries = 0
    while tries < 2 or time.perf_counter() < ends:
        started = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
        tries += 1
    return 2.0 * size**3 / best


def working_dtype(precision: str) -> torch.dtype:
    """What the products of a ``precision`` run in."""
    return torch.bfloat16 if precision == "bf16" else torch.float32


class PartNorms:
    """Norms of the gradients of a model's parts, of the partitions that ranks hold already: no gathering.

    ``names``: the parts with something to train; ``squares()`` this rank's share, to be summed over ranks.
    """

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self.parts: dict[str, list[nn.Parameter]] = {}
        for name, parameter in engine.module.named_parameters():
            if parameter.requires_grad:
                self.parts.setdefault(_part_of(name), []).append(parameter)
        self.names = tuple(self.parts)

    def squares(self) -> list[float]:
        """Sum of squares of each part's gradients on this rank, after the step's last backward pass."""
        return [self._square(parameters) for parameters in self.parts.values()]

    def _square(self, parameters: Sequence[nn.Parameter]) -> float:
        found = [gradient for gradient in map(self._local, parameters) if gradient is not None]
        return float(sum(torch.linalg.vector_norm(each, dtype=torch.float32) ** 2 for each in found)) if found else 0.0

    def _local(self, parameter: nn.Parameter) -> torch.Tensor | None:
        """This rank's partition of a gradient."""
        if self.engine.swaps(parameter):
            return held_gradient(self.engine.deepspeed.optimizer, parameter)
        if self.engine.zero_stage == 3:
            from deepspeed.utils import safe_get_local_grad

            return safe_get_local_grad(parameter)
        mapping = getattr(parameter, "_hp_mapping", None)
        if mapping is None:
            return None
        fragment: torch.Tensor = mapping.get_lp_grad_fragment(getattr(parameter, "_index_in_param_group"))  # noqa: B009
        return fragment

    def norms(self, summed: Sequence[float]) -> dict[str, float]:
        """By part, of squares summed over ranks."""
        return {name: math.sqrt(max(0.0, square)) for name, square in zip(self.names, summed, strict=True)}


def _part_of(name: str) -> str:
    """The model's part that a parameter belongs to, under wrappers such as peft's ``base_model.model.``."""
    return next((piece for piece in name.split(".") if piece not in ("base_model", "model", "module")), name)


class Waiting:
    """An iterator that knows how long its last item took to come (``seconds``)."""

    def __init__(self, source: Iterator[StepBatches]) -> None:
        self.source = source
        self.seconds = 0.0

    def __iter__(self) -> "Waiting":
        return self

    def __next__(self) -> StepBatches:
        started = time.perf_counter()
        try:
            return next(self.source)
        finally:
            self.seconds = time.perf_counter() - started
