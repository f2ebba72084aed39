"""What a stage's loop keeps count of, between checkpoints and in them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deemo_dist.training.consumption import Life, lives_of
from deemo_dist.training.guard import Guard
from deemo_dist.training.spec import CommitInfo


@dataclass(kw_only=True)
class Tally:
    """The loop's own numbers: kept in every commit, but for the losses of this attempt.

    ``not_better``: validations since the best one.
    """

    guard: Guard
    best_validation: float | None = None
    best_step: int | None = None
    not_better: int = 0
    first_loss: float | None = None
    last_loss: float | None = None
    committed: CommitInfo | None = field(default=None)
    lives: list[Life] = field(default_factory=list)

    def state(self, updates: int) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "updates": updates,
            "best_validation": self.best_validation,
            "best_step": self.best_step,
            "not_better": self.not_better,
            "lives": [list(life) for life in self.lives],
            **self.guard.state(),
        }

    def load(self, state: Mapping[str, Any], attempt: int) -> None:
        """Take up what the commit of ``attempt`` kept."""
        self.guard.load(state)
        self.best_validation = state.get("best_validation")
        self.best_step = state.get("best_step")
        self.not_better = int(state.get("not_better", 0))
        self.lives = lives_of(state, attempt)

    def count(self, step: int, loss: float, *, applied: bool) -> None:
        """Note how a step went. Raises ``TrainingError`` when too much was left out."""
        self.guard.count(step, loss, applied=applied)
        if applied:
            self.first_loss = loss if self.first_loss is None else self.first_loss
            self.last_loss = loss

    def validated(self, done: int, loss: float) -> None:
        """Note the validation loss after ``done`` steps. In a row of left-out updates it says nothing: the weights are
        those of before, and no checkpoint of them is made."""
        if self.guard.in_a_row:
            return
        if math.isfinite(loss) and (self.best_validation is None or loss < self.best_validation):
            self.best_validation, self.best_step, self.not_better = loss, done, 0
        else:
            self.not_better += 1
