"""What a stage counts of its validations."""

import math

from deemo_dist.training.guard import Guard
from deemo_dist.training.tally import Tally


def test_the_best_validation_and_those_since() -> None:
    tally = Tally(guard=Guard("s", spike=8.0))
    for done, loss in ((2, 1.0), (4, 0.5), (6, 0.75), (8, math.nan)):
        tally.validated(done, loss)
    assert (tally.best_validation, tally.best_step, tally.not_better) == (0.5, 4, 2)


def test_a_validation_in_a_row_of_left_out_updates_is_neither_better_nor_worse() -> None:
    """No checkpoint is made there, to which an early end could go back."""
    tally = Tally(guard=Guard("s", spike=8.0))
    tally.validated(2, 1.0)
    tally.count(2, math.nan, applied=False)
    for loss in (0.5, 2.0):
        tally.validated(3, loss)
    assert (tally.best_validation, tally.best_step, tally.not_better) == (1.0, 2, 0)
    tally.count(3, 0.4, applied=True)
    tally.validated(4, 0.4)
    assert (tally.best_validation, tally.best_step) == (0.4, 4)
