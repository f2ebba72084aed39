"""How full packs are, and how alike the work of the ranks: figures of a plan, beside the bounds they are to keep."""

from functools import cache

import numpy as np

from deemo_dist.dataset import Budget, LengthTable, PlanSettings, StepPlan
from deemo_dist.dataset.packing import pack

TOKENS = 4096
BUDGET = Budget(tokens=TOKENS, frames=512, audio_seconds=600.0)
EXAMPLES, SHARD, RANKS, MICRO = 200_000, 640, 64, 8


def draw_costs(count: int) -> np.ndarray:
    """Tokens, frames and audio milliseconds of as many examples: int64 [N, 3]."""
    draw = np.random.default_rng(0)
    return np.stack(
        [draw.integers(60, 1200, count), draw.integers(0, 17, count), draw.integers(0, 30_000, count)], axis=1
    )


def fill() -> float:
    """Share of the packs' tokens that are used, one window of 100,000 examples."""
    costs = draw_costs(100_000)
    return float(costs[:, 0].sum() / (len(pack(costs, BUDGET)) * TOKENS))


@cache
def evenness() -> float:
    """Mean over max cost of a micro-step's ranks, summed over the micro-steps of each full step; over all steps."""
    costs = draw_costs(EXAMPLES)
    lengths = LengthTable(
        digest="bench", tokens=costs[:, 0], targets=costs[:, 0], frames=costs[:, 1], audio_ms=costs[:, 2]
    )
    settings = PlanSettings(seed=1, epochs=1, packs_per_step=RANKS * MICRO, budget=BUDGET)
    plan = StepPlan(lengths, np.arange(EXAMPLES) // SHARD, settings)
    dearest = mean = 0.0
    for step in range(plan.steps - 1):
        work = np.array([costs[list(items), 0].sum() for items in plan.step(step)]).reshape(MICRO, RANKS)
        dearest, mean = dearest + float(work.max(axis=1).sum()), mean + float(work.mean(axis=1).sum())
    return mean / dearest
