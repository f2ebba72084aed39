"""How full packs are, and how alike the work of the ranks: figures of a plan, beside the bounds they are to keep."""

from collections.abc import Callable
from functools import cache

import numpy as np

from deemo_dist.dataset import Budget, LengthTable, PlanSettings, StepPlan
from deemo_dist.dataset.packing import pack

TOKENS = 4096
BUDGET = Budget(tokens=TOKENS, frames=512, audio_seconds=600.0)
EXAMPLES, SHARD, RANKS, MICRO = 200_000, 640, 64, 8
WINDOW = PlanSettings(seed=0, epochs=1, packs_per_step=1, budget=BUDGET).window
"""Examples of a window, as plans have them unless told otherwise."""

WINDOWS = 5

ANCHORS = "60 to 1,200 alike"
DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    ANCHORS: lambda draw, count: draw.integers(60, 1200, count),
    "500 to 2,000 alike": lambda draw, count: draw.integers(500, 2000, count),
    "log-normal, median 665": lambda draw, count: np.clip(draw.lognormal(6.5, 0.8, count), 20, TOKENS).astype(np.int64),
    "log-normal, median 181": lambda draw, count: np.clip(draw.lognormal(5.2, 0.6, count), 20, 2048).astype(np.int64),
}
"""Token lengths of as many examples."""

BUDGETS = {"log-normal, median 181": Budget(tokens=2048, frames=256, audio_seconds=600.0)}


def draw_costs(count: int, name: str = ANCHORS, *, seed: int = 0) -> np.ndarray:
    """Tokens, frames and audio milliseconds of as many examples: int64 [N, 3]."""
    draw = np.random.default_rng(seed)
    tokens = DISTRIBUTIONS[name](draw, count)
    return np.stack([tokens, draw.integers(0, 17, count), draw.integers(0, 30_000, count)], axis=1)


def best_fit_decreasing(lengths: np.ndarray, room: int) -> int:
    """Packs of ``room`` tokens that plain best-fit decreasing makes of lengths, by tokens alone."""
    rooms, counts, packs = 0, [0] * (room + 1), 0  # a bit of ``rooms`` for each room that some pack has left
    for length in sorted(lengths.tolist(), reverse=True):
        fitting = rooms >> length
        left = length + (fitting & -fitting).bit_length() - 1 if fitting else room
        if fitting:
            counts[left] -= 1
            rooms ^= (not counts[left]) << left
        else:
            packs += 1
        left -= length
        counts[left] += 1
        rooms |= (left > 0) << left
    return packs


def fill(name: str) -> float:
    """Share of the packs' tokens that are used, over some windows."""
    return _filled(name, lambda costs, budget: len(pack(costs, budget)))


def best_fit_fill(name: str) -> float:
    """The same, of packs by best-fit decreasing."""
    return _filled(name, lambda costs, budget: best_fit_decreasing(costs[:, 0], budget.tokens))


def _filled(name: str, packs_of: Callable[[np.ndarray, Budget], int]) -> float:
    budget = BUDGETS.get(name, BUDGET)
    windows = [draw_costs(WINDOW, name, seed=seed) for seed in range(WINDOWS)]
    tokens = sum(int(costs[:, 0].sum()) for costs in windows)
    return tokens / (sum(packs_of(costs, budget) for costs in windows) * budget.tokens)


@cache
def evenness(examples: int = EXAMPLES) -> float:
    """Mean over max work of a micro-step's ranks, summed over the micro-steps of each full step; over all steps.

    Work is what the plan balances by: tokens, frames and sound, each as a share of a pack's budget."""
    costs = draw_costs(examples)
    lengths = LengthTable(
        digest="bench", tokens=costs[:, 0], targets=costs[:, 0], frames=costs[:, 1], audio_ms=costs[:, 2]
    )
    settings = PlanSettings(seed=1, epochs=1, packs_per_step=RANKS * MICRO, budget=BUDGET)
    plan = StepPlan(lengths, np.arange(examples) // SHARD, settings)
    dearest = mean = 0.0
    for step in range(plan.steps - 1):
        packs = np.array([costs[list(items)].sum(axis=0) for items in plan.step(step)])
        work = BUDGET.work(packs).reshape(MICRO, RANKS)
        dearest, mean = dearest + float(work.max(axis=1).sum()), mean + float(work.mean(axis=1).sum())
    return mean / dearest
