"""Learning-rate schedules and the number of micro-steps: pure functions of the step."""

import math
from typing import Literal

from deemo_dist.errors import ConfigError, TrainingError

WSD_DECAY = 0.2


def factor(step: int, total: int, *, kind: Literal["cosine", "constant", "wsd"], warmup: float) -> float:
    """Share of the base learning rate at ``step`` of ``total`` (counted from 0), in (0, 1].

    Linear warm-up over the first ``ceil(warmup * total)`` steps, then constant; or a half cosine towards 0 (reached
    after the last step); or warm-up-stable-decay (arXiv 2404.06395) with a linear decay over the last fifth.

    Raises ``ConfigError`` when ``warmup`` is not in [0, 1).
    """
    if not 0.0 <= warmup < 1.0:
        raise ConfigError(f"warmup is {warmup}", hint="a share of the steps, at least 0 and below 1")
    warm = math.ceil(warmup * total)
    if step < warm:
        return (step + 1) / warm
    if kind == "constant":
        return 1.0
    if kind == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
    start = max(warm, total - math.ceil(WSD_DECAY * total))
    return 1.0 if step < start else 1.0 - (step - start) / max(1, total - start)


def micro_steps(packs_per_step: int, world: int) -> int:
    """Micro-steps of one pack each a rank runs a global step: ceil(G / R). Raises ``TrainingError`` when R > G."""
    if world > packs_per_step:
        raise TrainingError(
            f"{world} ranks cannot share steps of {packs_per_step} packs",
            hint="raise packs_per_step to at least the number of ranks, or take fewer ranks",
        )
    return -(-packs_per_step // world)
