"""Arrays on a batch system of the test's own: what ends too early is sent again, within bounds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest

from deemo_dist.config import ExecutionConfig
from deemo_dist.errors import ConfigError, DatasetError, LaunchError
from deemo_dist.execution import Array, run
from deemo_dist.execution.array import MAX_SILENT, run_as_array

TASKS = 3


@dataclass
class Batch:
    """Each time it is asked, every task that is alive does a unit; those in ``dies`` end before, so many times."""

    units: list[int]
    dies: dict[int, int] = field(default_factory=dict)
    silent: int = 0
    refuses: int = 0
    holds: bool = False
    queue: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)
    sent: list[tuple[int, ...]] = field(default_factory=list)
    cancelled: bool = False
    ended: list[bool] = field(default_factory=list)

    def array(self) -> Array:
        return Array(
            task_of=lambda unit: unit % TASKS,
            submit=self.submit,
            alive=self.alive,
            cancel=self.cancel,
            results=self.results,
            ended=lambda: self.ended.append(self.cancelled),
            logs="build/logs/x.out",
        )

    def submit(self, tasks: Sequence[int]) -> None:
        assert self.queue.isdisjoint(tasks)
        if self.refuses:
            self.refuses -= 1
            raise LaunchError("sbatch failed: slurmctld is busy")
        self.sent.append(tuple(tasks))
        self.queue |= set(tasks)

    def alive(self) -> set[int]:
        if self.silent:
            self.silent -= 1
            raise LaunchError("squeue did not answer")
        for task in sorted(self.queue):
            if self.dies.get(task, 0):
                self.dies[task] -= 1
                self.queue.remove(task)
                continue
            left = [unit for unit in self.units if unit % TASKS == task and unit not in self.done]
            self.done |= set(left[:1])
            if not left[1:]:
                self.queue.remove(task)
        return set(self.queue)

    def cancel(self) -> None:
        if self.holds:
            raise LaunchError("scancel did not answer")
        self.cancelled = True

    def results(self, waiting: Sequence[int]) -> Iterable[tuple[int, int]]:
        return [(unit, unit * unit) for unit in waiting if unit in self.done]


def squares(batch: Batch) -> dict[int, int]:
    found: dict[int, int] = {}
    run_as_array(batch.units, batch.array(), lambda unit, result: found.update({unit: result}), poll=0.0)
    return found


def test_every_unit_comes_back_and_each_task_is_sent_once() -> None:
    batch = Batch(list(range(10)))
    assert squares(batch) == {n: n * n for n in range(10)}
    assert batch.sent == [(0, 1, 2)] and not batch.cancelled and batch.ended == [False]


def test_only_tasks_with_units_to_do_are_sent() -> None:
    batch = Batch([1, 4, 7])
    assert squares(batch) == {1: 1, 4: 16, 7: 49}
    assert batch.sent == [(1,)]


def test_a_task_that_died_is_sent_again_alone() -> None:
    batch = Batch(list(range(6)), dies={2: 2})
    assert squares(batch) == {n: n * n for n in range(6)}
    assert batch.sent == [(0, 1, 2), (2,), (2,)]


def test_a_task_that_always_dies_ends_the_run_and_the_array() -> None:
    batch = Batch(list(range(6)), dies={1: 99})
    with pytest.raises(LaunchError, match=r"task 1 ended 3 times without a new result - look at .*build/logs/x.out"):
        squares(batch)
    assert batch.cancelled and batch.ended == [True], "ended once it is cancelled"


def test_tasks_of_a_driver_that_died_are_not_sent_twice() -> None:
    batch = Batch(list(range(12)), queue={0, 1, 2})
    assert squares(batch) == {n: n * n for n in range(12)}
    assert batch.sent == []


def test_a_batch_system_that_does_not_answer_is_asked_again_within_bounds() -> None:
    assert squares(Batch([0, 1], silent=MAX_SILENT - 1)) == {0: 0, 1: 1}
    batch = Batch([0, 1], silent=MAX_SILENT)
    with pytest.raises(LaunchError, match="squeue did not answer"):
        squares(batch)
    assert batch.cancelled


ONE_ALIVE = [0, 1, *(2 + TASKS * number for number in range(MAX_SILENT + 2))]
"""Units of which a task that is alive already has enough to stay so."""


def test_a_batch_system_that_refuses_tasks_is_asked_again_within_bounds() -> None:
    batch = Batch(ONE_ALIVE, queue={2}, refuses=MAX_SILENT - 1)
    assert squares(batch) == {n: n * n for n in ONE_ALIVE}
    assert batch.sent == [(0, 1)] and not batch.cancelled, "what was refused is no try of a task"
    batch = Batch(ONE_ALIVE, queue={2}, refuses=MAX_SILENT)
    with pytest.raises(LaunchError, match="slurmctld is busy"):
        squares(batch)
    assert batch.cancelled and batch.ended == [True]


def test_one_that_refuses_the_very_first_tasks_is_not_asked_again() -> None:
    batch = Batch([0, 1, 2], refuses=1)
    with pytest.raises(LaunchError, match="slurmctld is busy"):
        squares(batch)
    assert batch.sent == [] and batch.ended == [True]


def test_silence_and_refusals_are_counted_together() -> None:
    assert squares(Batch(ONE_ALIVE, queue={2}, silent=MAX_SILENT - 2, refuses=1)) == {n: n * n for n in ONE_ALIVE}
    batch = Batch(ONE_ALIVE, queue={2}, silent=MAX_SILENT - 1, refuses=1)
    with pytest.raises(LaunchError, match="slurmctld is busy"):
        squares(batch)


def test_an_array_that_cannot_be_cancelled_hides_no_error(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deemo_dist.console.logger.propagate", True)
    batch = Batch([0, 1, 2], holds=True)

    def interrupted(unit: int, result: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_as_array(batch.units, batch.array(), interrupted, poll=0.0)
    assert batch.ended == [False], "what tasks were told is taken away all the same"
    assert "tasks of the array may go on by themselves, cancel them by hand: scancel did not answer" in caplog.text


def test_what_on_result_raises_cancels_the_array() -> None:
    batch = Batch([0, 1, 2])

    def refuse(unit: int, result: int) -> None:
        raise DatasetError("past the budget")

    with pytest.raises(DatasetError):
        run_as_array(batch.units, batch.array(), refuse, poll=0.0)
    assert batch.cancelled


def test_work_that_has_no_array_is_refused_under_slurm() -> None:
    with pytest.raises(ConfigError, match="does not run as a SLURM array"):
        run([1], print, config=ExecutionConfig(executor="slurm"), on_result=print)  # type: ignore[arg-type]
