"""Checkpoints of a gigabyte of state, as a process that is asked: one ZeRO-3 rank, one thread; each answer has

``written``: saves a second that wait for write, flush and commit; ``stalled``: saves a second as far as the loop is
kept by them; ``alone`` and ``saving``: steps a second of a stage without checkpoints and with one every few steps.
All are of whole stages as they are trained: the last save of a stage is waited for, the others are not.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from deemo_dist.config import EngineConfig, StageConfig, StorageConfig, TrainRule
from deemo_dist.environ import Placement
from deemo_dist.storage import open_store
from deemo_dist.training import StageSpec, StepBatches, train_stage
from tests.bench.training.clock import Clock
from tests.bench.training.ranks import words

WIDTH, LAYERS, ROWS = 3000, 10, 256
STEPS, EVERY = 24, 8
STAGE = StageConfig(tasks=("bench",), trains={"*": TrainRule(lr=1e-6)}, packs_per_step=1, max_tokens=ROWS)


class Wide(nn.Module):
    """90 million parameters: with two moments 1.08 GB."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS))

    def forward(self, rows: torch.Tensor, num_items_in_batch: float) -> dict[str, torch.Tensor]:
        """The mean square of what comes out."""
        for layer in self.layers:
            rows = torch.tanh(layer(rows))
        return Output(loss=rows.square().sum() / num_items_in_batch)


class Output(dict[str, torch.Tensor]):
    """A mapping, read by attribute too."""

    @property
    def loss(self) -> torch.Tensor:
        """The loss."""
        return self["loss"]


def batches(start: int, place: Placement) -> Iterator[StepBatches]:
    """The same rows at each step."""
    rows = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1))
    yield from [StepBatches(batches=[{"rows": rows}], targets=ROWS, packs=(0,), tokens=ROWS)] * (STEPS - start)


def train(every: int) -> tuple[float, float]:
    """One stage with a checkpoint each ``every`` steps (0: at its end alone): steps a second, and its stall."""
    clock = Clock()
    Path("build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="build") as folder:  # a disk, which /tmp need not be
        result = train_stage(
            StageSpec(
                name="bench",
                stage=STAGE,
                engine=EngineConfig(checkpoint_every=every, keep_checkpoints=1, preflight=False),
                seed=1,
                model=Wide,
                batches=batches,
                total_steps=STEPS,
                store=open_store(StorageConfig(root=f"file://{folder}")),
                run_prefix="runs/bench",
                prefix="runs/bench/stage",
                stage_key="0" * 64,
                callbacks=(clock,),
                attempt=1,
            )
        )
    return clock.rate(), result.save_stall_seconds


def figures() -> dict[str, float]:
    """Of one stage without checkpoints but the last, and of one with."""
    (alone, last), (saving, all_saves) = train(0), train(EVERY)
    stall = (all_saves - last) / ((STEPS - 1) // EVERY)
    return {"written": 1 / last, "stalled": 1 / max(stall, 1e-6), "alone": alone, "saving": saving}


if __name__ == "__main__":
    for _ in words(world=1):
        sys.stdout.write(json.dumps(figures()) + "\n")
        sys.stdout.flush()
