import math
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.errors import TrainingError
from deemo_dist.training.guard import ENOUGH, IN_A_ROW, IN_ALL, RECENT, REWINDS, Guard


def guard(*losses: float, spike: float = 8.0) -> Guard:
    made = Guard("s", spike=spike)
    for step, loss in enumerate(losses):
        made.count(step, loss, applied=True)
    return made


def leave_out(made: Guard, steps: range) -> None:
    for step in steps:
        made.count(step, math.nan, applied=False)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_never_allowed(loss):
    assert not guard(spike=0.0).allows(loss)


def test_a_spike_is_left_out_once_enough_is_known():
    quiet = [2.0 + 0.01 * (step % 3) for step in range(ENOUGH)]
    assert not guard(*quiet).allows(3.2)
    assert guard(*quiet[:-1]).allows(3.2)
    assert guard(*quiet, spike=0.0).allows(1e9)


@given(st.lists(st.floats(0.0, 12.0), min_size=ENOUGH, max_size=80), st.floats(0.0, 0.99))
def test_a_loss_within_a_nat_of_the_middle_is_no_spike(losses, rise):
    assert guard(*losses).allows(median(losses[-RECENT:]) + rise)


def test_a_fast_fall_is_not_taken_for_noise():
    falling = [10.0 - 0.3 * step for step in range(32)]
    assert not guard(*falling).allows(9.9)


@given(st.lists(st.floats(0.01, 5.0), min_size=1, max_size=100), st.lists(st.booleans(), min_size=1, max_size=30))
def test_a_resumed_guard_judges_as_the_undisturbed_one(losses, outcomes):
    first = guard(*losses)
    second = Guard("s", spike=8.0)
    second.load(first.state())
    for step, applied in enumerate(outcomes):
        if first.has_gone_bad:
            break
        for each in (first, second):
            each.count(step, 1.0, applied=applied)
        assert first.state() == second.state()
        assert first.allows(4.0) == second.allows(4.0) and first.has_gone_bad == second.has_gone_bad


def test_it_goes_back_before_the_row_and_only_so_often():
    made = guard(*[1.0] * 20)
    step = 20
    for times in range(REWINDS):
        leave_out(made, range(step, step + IN_A_ROW))
        assert not made.has_gone_bad
        leave_out(made, range(step + IN_A_ROW, step + IN_A_ROW + 1))
        last = step + IN_A_ROW
        assert made.has_gone_bad and made.first_left_out(last) == step
        made.undo(last, back_to=step - 2, kept=[1.0, 1.1])
        assert not made.has_gone_bad and made.rewinds == times + 1
        assert made.undone[-1] == (step - 2, last + 1) and list(made.recent) == [1.0, 1.1]
        step = last + 1
    leave_out(made, range(step, step + IN_A_ROW + 1))
    with pytest.raises(TrainingError, match=f"went back {REWINDS} times"):
        made.undo(step + IN_A_ROW, back_to=1, kept=[])


def test_without_a_checkpoint_from_before_it_says_so():
    made = guard()
    leave_out(made, range(IN_A_ROW + 1))
    with pytest.raises(TrainingError, match="no checkpoint is from before them"):
        made.undo(IN_A_ROW, back_to=None, kept=[])


def test_what_is_left_out_in_all_is_bounded():
    made = guard()
    with pytest.raises(TrainingError, match=f"{IN_ALL + 1} updates were left out in all"):
        for step in range(3 * IN_ALL):
            made.count(step, math.nan if step % 2 else 1.0, applied=step % 2 == 0)
