"""The guard over a stage's losses: updates that would do harm are left out, and what has been harmed is undone.

A loss that is not finite, or far above the recent ones, has its update left out on every rank. Several in a row mean
that the weights themselves have gone bad: the stage goes back to a checkpoint from before them and on with the data
after them (as PaLM's training did, arXiv 2204.02311, section 5.1). All of it is counted and bounded, and depends on
nothing but the losses, so that a resumed training decides the same.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import pairwise
from statistics import median
from typing import Any

from deemo_dist.console import logger
from deemo_dist.errors import TrainingError

IN_A_ROW = 5
"""Updates that may be left out one after another before the stage goes back."""
IN_ALL = 50
REWINDS = 3
RECENT = 32
ENOUGH = 16
"""Losses that must be known before one can be called a spike."""
LEAST_RISE = 1.0
"""Nats a token: a smaller rise is never a spike, however quiet the losses were."""
DEVIATION = 1.4826 / math.sqrt(2.0)
"""From the median absolute difference of two successive values to the standard deviation of normal noise: unlike the
spread around a median, it does not count a falling trend as noise."""

Stretch = tuple[int, int]
"""Steps from the first to before the second."""


def is_undone(undone: Iterable[Iterable[int]], done: int) -> bool:
    """Whether ``done`` steps end within a stretch, behind the checkpoint at its beginning."""
    return any(back < done < end for back, end in undone)


class Guard:
    """What is known of a stage's losses. ``spike``: how many standard deviations of their noise above the recent
    losses' median a loss must lie for its update to be left out; 0: only losses that are not finite are."""

    def __init__(self, stage: str, *, spike: float) -> None:
        self.stage = stage
        self.spike = spike
        self.recent: deque[float] = deque(maxlen=RECENT)
        self.skipped = 0
        self.in_a_row = 0
        self.undone: list[Stretch] = []

    @property
    def rewinds(self) -> int:
        """How often the stage went back."""
        return len(self.undone)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: a resumed stage then judges as this one would have."""
        return {
            "skipped": self.skipped,
            "skipped_in_a_row": self.in_a_row,
            "recent_losses": list(self.recent),
            "undone": [list(stretch) for stretch in self.undone],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        self.skipped = int(state.get("skipped", 0))
        self.in_a_row = int(state.get("skipped_in_a_row", 0))
        self.undone = [(int(first), int(end)) for first, end in state.get("undone", [])]
        self._remember(state.get("recent_losses", []))

    def allows(self, loss: float) -> bool:
        """Whether the update of a step with this loss (over all ranks) may be applied."""
        return math.isfinite(loss) and not self._is_spike(loss)

    def count(self, step: int, loss: float, *, applied: bool) -> None:
        """Note how a step went. Raises ``TrainingError`` when too much was left out in all."""
        if applied:
            self.in_a_row = 0
            self.recent.append(loss)
            return
        self.skipped += 1
        self.in_a_row += 1
        why = "far above the recent ones" if math.isfinite(loss) else "not finite"
        logger.warning("step %d: the loss or its gradient is %s (%.4g), the update is left out", step, why, loss)
        if self.skipped > IN_ALL:
            raise self._diverges(step, f"{self.skipped} updates were left out in all")

    @property
    def has_gone_bad(self) -> bool:
        """Whether so many updates were left out one after another that the weights must be at fault."""
        return self.in_a_row > IN_A_ROW

    def first_left_out(self, step: int) -> int:
        """The first step of the row of left-out updates that ends with ``step``."""
        return step + 1 - self.in_a_row

    def was_undone(self, done: int) -> bool:
        """Whether the weights after ``done`` steps are among those that the stage went back over."""
        return is_undone(self.undone, done)

    def undo(self, step: int, *, back_to: int | None, kept: Iterable[float]) -> None:
        """The stage goes back to the weights after ``back_to`` steps (None: there are none) and on after ``step``, with
        the losses that were ``kept`` then. Raises ``TrainingError`` when it may not."""
        row = f"{self.in_a_row} updates in a row up to step {step} were left out"
        if back_to is None:
            raise self._diverges(step, f"{row}, and no checkpoint is from before them")
        if self.rewinds >= REWINDS:
            raise self._diverges(step, f"{row}, after it went back {self.rewinds} times")
        logger.warning("%s: %s; back to the checkpoint at step %d, on with step %d", self.stage, row, back_to, step + 1)
        self.undone.append((back_to, step + 1))
        self.in_a_row = 0
        self._remember(kept)

    def _is_spike(self, loss: float) -> bool:
        if not self.spike or len(self.recent) < ENOUGH:
            return False
        noise = DEVIATION * median(abs(after - before) for before, after in pairwise(self.recent))
        return loss - median(self.recent) > max(LEAST_RISE, self.spike * noise)

    def _remember(self, losses: Iterable[float]) -> None:
        self.recent = deque((float(loss) for loss in losses), maxlen=RECENT)

    def _diverges(self, step: int, what: str) -> TrainingError:
        return TrainingError(
            f"stage {self.stage} diverges at step {step}: {what}",
            hint="lower the learning rate, lengthen the warm-up, or save checkpoints more often",
        )
