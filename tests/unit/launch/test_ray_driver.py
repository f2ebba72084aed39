"""How often the ranks are placed anew on Ray, and why no more."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deemo_dist.launch import ray_driver
from deemo_dist.launch.ray_answers import NodeLostError
from deemo_dist.launch.ray_driver import Room, main, run

ROOM = Room(ranks=2, cpus=1, gpus=0, memory_mb=0, threads=1, wait=1)
LOST = NodeLostError("rank 1 was lost", hint="Ray says: the node died")


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("ray.init", lambda **_: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def lives(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Has each life end as told; the list counts the lives."""

    def tell(*ends: object) -> list[int]:
        count: list[int] = []

        def life(*_: object) -> object:
            count.append(1)
            end = ends[len(count) - 1]
            return end() if callable(end) else end

        monkeypatch.setattr(ray_driver, "_life", life)
        return count

    return tell


def _steps(*said: str) -> Callable[[], str]:
    left = list(said)
    return lambda: left.pop(0)


def test_lives_that_get_on_are_followed_by_others(lives: Callable[..., list[int]]) -> None:
    count = lives(LOST, LOST, LOST, LOST, 0)
    committed = _steps("a:1", "a:1", "a:2", "a:2", "a:3")
    assert run(ROOM, ["x"], restarts=20, committed=committed) == 0
    assert len(count) == 5


@pytest.mark.parametrize("said", ["a:1", ""])
def test_two_lives_without_a_commit_are_the_end(lives: Callable[..., list[int]], said: str) -> None:
    count = lives(LOST, LOST, LOST)
    with pytest.raises(NodeLostError, match="rank 1 was lost - Ray says: the node died"):
        run(ROOM, ["x"], restarts=20, committed=lambda: said)
    assert len(count) == 2


@pytest.mark.parametrize(("after", "code"), [("a:2", 75), ("a:1", None)])
def test_no_life_follows_a_stop(lives: Callable[..., list[int]], after: str, code: int | None) -> None:
    def stopped() -> NodeLostError:
        os.kill(os.getpid(), signal.SIGTERM)
        return LOST

    count = lives(stopped)
    if code is None:
        with pytest.raises(NodeLostError):
            run(ROOM, ["x"], restarts=20, committed=_steps("a:1", after))
    else:
        assert run(ROOM, ["x"], restarts=20, committed=_steps("a:1", after)) == code
    assert len(count) == 1


@pytest.mark.parametrize(("end", "told"), [(0, False), (75, False), (70, True), (LOST, True)])
def test_a_failure_is_told(lives: Callable[..., list[int]], tmp_path: Path, end: object, told: bool) -> None:
    lives(end, end)
    numbers = [f"--{name}=1" for name in ("ranks", "threads", "restarts", "cpus", "gpus", "memory-mb", "wait")]
    main([*numbers, "--progress=echo a:1", f"--failed=touch {tmp_path}/failed", "--", sys.executable])
    assert (tmp_path / "failed").exists() is told


def test_no_ray_here_is_one_line_and_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def none(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr("ray.init", none)
    numbers = [f"--{name}=1" for name in ("ranks", "threads", "restarts", "cpus", "gpus", "memory-mb", "wait")]
    assert main([*numbers, f"--failed=touch {tmp_path}/failed", "--", sys.executable]) == 1
    assert "deemo: Ray does not answer on this machine: Could not find" in capsys.readouterr().err
    assert (tmp_path / "failed").exists()
