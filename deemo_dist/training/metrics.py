"""What a step cost: waiting, time, memory; and how its randomness is seeded."""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from deemo_dist.training.spec import StepBatches

_PAGE = os.sysconf("SC_PAGE_SIZE")


def rss_bytes() -> int:
    """Resident memory of this process, in bytes (0 where /proc is missing)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def device_bytes(device: torch.device) -> int:
    """Peak bytes allocated on the accelerator; 0 on a CPU."""
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else 0


def tokens_of(step: StepBatches) -> int:
    """Tokens that this rank feeds in a step: as told, else the elements of ``input_ids``."""
    if step.tokens:
        return step.tokens
    return sum(_elements(batch.get("input_ids")) for batch in step.batches)


def _elements(value: Any) -> int:
    return int(value.numel()) if isinstance(value, torch.Tensor) else 0


def seed_micro_step(seed: int, step: int, pack: int) -> None:
    """Reseed torch for one pack, so that dropout does not depend on ranks, order or restarts."""
    text = f"deemo-dropout/{seed}/{step}/{pack}".encode()
    torch.manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1)


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
