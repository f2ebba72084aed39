"""The request budget under a clock of the test's own."""

import pytest

from deemo_dist.storage.budget import RequestBudget


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_requests_stay_within_the_rate(clock: Clock) -> None:
    budget = RequestBudget(10, clock=clock, sleep=clock.sleep)
    for _ in range(110):
        budget.take()
    assert clock.now == pytest.approx(10.0)


def test_slow_down_halves_once_a_second_and_has_a_floor(clock: Clock) -> None:
    budget = RequestBudget(64, clock=clock, sleep=clock.sleep)
    for _ in range(20):
        budget.slow_down()
    assert budget.rate == 32
    for _ in range(40):
        clock.now += 1.0
        budget.slow_down()
    assert 1 <= budget.rate < 3


def test_the_rate_comes_back_slowly(clock: Clock) -> None:
    budget = RequestBudget(100, clock=clock, sleep=clock.sleep)
    budget.slow_down()
    assert budget.rate == 50
    clock.now += 10
    assert budget.rate == pytest.approx(70)
    clock.now += 100
    assert budget.rate == 100


def test_after_slow_down_nothing_saved_is_spent(clock: Clock) -> None:
    budget = RequestBudget(100, clock=clock, sleep=clock.sleep)
    budget.slow_down()
    for _ in range(50):
        budget.take()
    assert 0.9 < clock.now <= 1.0


def test_less_than_one_request_a_second_still_moves(clock: Clock) -> None:
    budget = RequestBudget(0.5, clock=clock, sleep=clock.sleep)
    for _ in range(3):
        budget.take()
    assert clock.now == pytest.approx(4.0)
