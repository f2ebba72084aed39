"""Spawned workers: every unit once, deaths survived, errors clean, nobody left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from deemo_dist.config import ExecutionConfig
from deemo_dist.errors import ConfigError, DatasetError, DeemoError, LaunchError, StalledError
from deemo_dist.execution import run, share
from deemo_dist.execution.tries import MAX_BAD_STARTS, MAX_NODE_DEATHS, MAX_TRIES, Tries

LOCAL = ExecutionConfig(executor="local", workers=2)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def workers(folder: Path) -> list[int]:
    return [int(path.name.split("-")[1]) for path in folder.glob("built-*")]


def squares(folder: Path, units: list[int], config: ExecutionConfig = LOCAL, **how: Any) -> dict[int, int]:
    from work_functions import Squares

    found: dict[int, int] = {}

    def on_result(unit: int, result: tuple[int, int]) -> None:
        assert unit not in found
        assert result[1] != os.getpid()
        found[unit] = result[0]

    run(units, Squares(str(folder), **how), config=config, on_result=on_result)
    return found


@pytest.mark.slow
def test_every_unit_once_on_two_processes_and_a_killed_one_is_replaced(tmp_path: Path) -> None:
    assert squares(tmp_path, list(range(8)), kill=0, sleep=0.4) == {n: n * n for n in range(8)}
    assert len(list(tmp_path.glob("try-0-*"))) == 2
    assert len(workers(tmp_path)) == 3
    assert not any(alive(pid) for pid in workers(tmp_path))


def test_an_error_of_the_function_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="this unit is refused - as told"):
        squares(tmp_path, [0, 1, 2], refuse=1)
    assert not any(alive(pid) for pid in workers(tmp_path))


def test_a_unit_that_stalls_is_tried_again_within_bounds(tmp_path: Path) -> None:
    assert squares(tmp_path, [0, 1, 2], stall=1, stall_times=MAX_TRIES - 1) == {n: n * n for n in range(3)}
    assert len(list(tmp_path.glob("try-1-*"))) == MAX_TRIES and len(list(tmp_path.glob("try-0-*"))) == 1
    again = tmp_path / "again"
    again.mkdir()
    with pytest.raises(StalledError, match="the machine stood still"):
        squares(again, [0, 1, 2], stall=1, stall_times=MAX_TRIES)


def test_an_unexpected_exception_is_shown_by_place_without_its_text(tmp_path: Path) -> None:
    with pytest.raises(DeemoError, match=r"RuntimeError in _work \(.*work_functions.py:\d+\)") as caught:
        squares(tmp_path, [5], crash=5)
    assert "jane" not in str(caught.value)


def test_a_unit_that_always_kills_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(DeemoError, match="ended its worker 3 times"):
        squares(tmp_path, [4], kill=4, kill_times=9)


def test_a_factory_that_fails_is_one_clean_error() -> None:
    from work_functions import BadFactory

    with pytest.raises(DatasetError, match="the model is not there"):
        run([1], BadFactory(), config=LOCAL, on_result=print)


def test_a_result_that_cannot_be_sent_is_said() -> None:
    from work_functions import Closures

    with pytest.raises(DeemoError, match="result of type function cannot be sent"):
        run([1], Closures(), config=LOCAL, on_result=print)


def test_no_units_no_workers(tmp_path: Path) -> None:
    assert squares(tmp_path, []) == {}
    assert workers(tmp_path) == []


def test_no_workers_is_refused() -> None:
    with pytest.raises(ConfigError):
        run([1], print, config=ExecutionConfig(workers=0), on_result=print)  # type: ignore[arg-type]


def test_tasks_share_all_units() -> None:
    parts = [list(share(range(10), ExecutionConfig(task=task, tasks=3))) for task in range(3)]
    assert sorted(unit for part in parts for unit in part) == list(range(10))
    with pytest.raises(ConfigError):
        share([], ExecutionConfig(task=3, tasks=3))


def test_tries_are_bounded() -> None:
    tries = Tries(["a"])
    for _ in range(2):
        assert tries.take() == 0
        tries.lost(0, "signal 9")
    assert tries.take() == 0
    with pytest.raises(DeemoError):
        tries.lost(0, "signal 9")


def test_a_node_s_death_is_counted_apart_and_bounded_too() -> None:
    tries = Tries(["a"])
    for _ in range(MAX_NODE_DEATHS - 1):
        assert tries.take() == 0
        tries.lost(0, "its node died", node=True)
    assert tries.take() == 0
    with pytest.raises(DeemoError, match="its node died"):
        tries.lost(0, "its node died", node=True)


def test_a_unit_has_twice_the_time_after_each_time_it_hung() -> None:
    now = [0.0]
    tries = Tries(["a"], seconds=10.0, clock=lambda: now[0])
    for allowed in (10.0, 20.0):
        assert tries.take() == 0
        now[0] += allowed - 1
        assert tries.overdue() == [] and tries.patience(60.0) == 1.0
        now[0] += 1
        assert tries.overdue() == [0] and tries.patience(60.0) == 0.0
        tries.hung(0)
    assert tries.take() == 0
    with pytest.raises(DeemoError, match="unit 0 did not end within 40 s"):
        tries.hung(0)


def test_what_others_needed_is_no_hanging() -> None:
    """On a machine that is slower than was thought, a unit or a start that took long makes time for the next."""
    now = [0.0]
    tries = Tries("abc", seconds=10.0, clock=lambda: now[0])
    tries.hung(tries.start())
    slow = tries.start()
    now[0] += 18.0
    tries.started(slow)
    assert (tries.start(), tries.patience(99.0)) == (-3, 36.0)
    tries.started(-3)
    assert tries.take() == 0
    now[0] += 8.0
    tries.done(0)
    assert (tries.take(), tries.patience(99.0)) == (1, 16.0)


def test_workers_that_never_start_are_given_up() -> None:
    tries = Tries(["a"])
    for _ in range(MAX_BAD_STARTS - 1):
        tries.lost(tries.start(), "signal 9")
    tries.started(tries.start())
    for _ in range(MAX_BAD_STARTS - 1):
        tries.hung(tries.start())
    with pytest.raises(LaunchError, match="10 times in a row a worker did not come up in time"):
        tries.hung(tries.start())
    assert list(tries.waiting) == [0]


@pytest.mark.parametrize("node", [True, False])
def test_many_starts_lost_with_one_node_are_one_loss(node: bool) -> None:
    """That it was the node is not always known yet when the first of its workers is missed."""
    tries = Tries(range(100))
    for _ in range(MAX_BAD_STARTS - 1):
        for number in [tries.start() for _ in range(12)]:
            tries.lost(number, "ActorDiedError", node=node)
    for number in [tries.start(generation=0) for _ in range(12)]:  # of workers made before all that
        tries.lost(number, "ActorDiedError", node=node)
    tries.started(tries.start())
    assert len(tries.waiting) == 100


def test_nodes_that_die_with_every_start_are_given_up() -> None:
    tries = Tries(["a"])
    for _ in range(MAX_NODE_DEATHS - 1):
        tries.lost(tries.start(), "its node died", node=True)
    with pytest.raises(LaunchError, match="20 times in a row a worker died at the start"):
        tries.lost(tries.start(), "its node died", node=True)


@pytest.mark.slow
def test_a_stopped_worker_is_killed_and_its_unit_done_elsewhere(tmp_path: Path) -> None:
    hurried = ExecutionConfig(executor="local", workers=2, unit_seconds=2.0)
    assert squares(tmp_path, list(range(5)), hurried, stop=3) == {n: n * n for n in range(5)}
    assert len(list(tmp_path.glob("try-3-*"))) == 2
    assert not any(alive(pid) for pid in workers(tmp_path))


@pytest.mark.slow
def test_workers_end_with_a_driver_that_is_killed(tmp_path: Path) -> None:
    driver = start_driver(tmp_path)
    driver.kill()
    driver.wait()
    limit = time.monotonic() + 10
    while any(alive(pid) for pid in workers(tmp_path)):
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    driver = start_driver(tmp_path)
    os.killpg(driver.pid, signal.SIGINT)
    _, said = driver.communicate(timeout=15)
    assert b"KeyboardInterrupt" in said
    assert not any(alive(pid) for pid in workers(tmp_path))


def start_driver(folder: Path) -> "subprocess.Popen[bytes]":
    """A process whose two workers are at work."""
    script = f"""
        import signal
        from deemo_dist.config import ExecutionConfig
        from deemo_dist.execution import run
        from work_functions import Squares
        if __name__ == "__main__":
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
            run(range(9), Squares({str(folder)!r}, sleep=30), config=ExecutionConfig(executor="local", workers=2),
                on_result=print)
    """
    (folder / "main.py").write_text(textwrap.dedent(script))
    process = subprocess.Popen(
        [sys.executable, str(folder / "main.py")], start_new_session=True, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 30
    while len(list(folder.glob("try-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(workers(folder)) == 2
    return process
