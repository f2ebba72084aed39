"""The same laws on Ray actors, on a real local Ray."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deemo_dist.config import ExecutionConfig
from deemo_dist.errors import DatasetError, DeemoError, LaunchError
from deemo_dist.execution import run

pytestmark = pytest.mark.slow
RAY = ExecutionConfig(executor="ray", workers=2, cpus_per_worker=0.5)


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """One Ray for the module; the last test lets the room start its own."""
    functions = str(Path(__file__).parent / "functions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", functions)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        ray.init(
            address="local", include_dashboard=False, num_cpus=2, object_store_memory=100 * 2**20, log_to_driver=False
        )
        yield
        ray.shutdown()


def squares(folder: Path, units: list[int], config: ExecutionConfig = RAY, **how: Any) -> dict[int, int]:
    from work_functions import Squares

    found: dict[int, int] = {}

    def on_result(unit: int, result: tuple[int, int]) -> None:
        assert unit not in found
        assert result[1] != os.getpid()
        found[unit] = result[0]

    run(units, Squares(str(folder), **how), config=config, on_result=on_result)
    return found


def test_every_unit_once_and_a_killed_actor_is_replaced(local_ray: None, tmp_path: Path) -> None:
    assert squares(tmp_path, list(range(6)), kill=3) == {n: n * n for n in range(6)}
    assert len(list(tmp_path.glob("try-3-*"))) == 2


def test_a_stopped_actor_s_unit_is_done_elsewhere(local_ray: None, tmp_path: Path) -> None:
    hurried = replace(RAY, unit_seconds=6.0)
    assert squares(tmp_path, list(range(4)), hurried, stop=1) == {n: n * n for n in range(4)}
    assert len(list(tmp_path.glob("try-1-*"))) == 2


def test_units_do_not_wait_for_actors_that_find_no_room(local_ray: None, tmp_path: Path) -> None:
    """Two processors, four actors wanted: the two that are placed do all units."""
    wide = ExecutionConfig(executor="ray", workers=4, cpus_per_worker=1.0)
    assert squares(tmp_path, list(range(8)), wide, sleep=0.3) == {n: n * n for n in range(8)}


def test_errors_end_the_run(local_ray: None, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="this unit is refused - as told"):
        squares(tmp_path, [0, 1, 2], refuse=1)
    with pytest.raises(DeemoError, match="RuntimeError in _work") as caught:
        squares(tmp_path, [5], crash=5)
    assert "jane" not in str(caught.value)


def test_a_unit_that_stalls_is_tried_again(local_ray: None, tmp_path: Path) -> None:
    assert squares(tmp_path, [0, 1, 2], stall=1, stall_times=2) == {n: n * n for n in range(3)}


def test_a_unit_that_always_kills_is_given_up(local_ray: None, tmp_path: Path) -> None:
    with pytest.raises(DeemoError, match="ended its worker 3 times"):
        squares(tmp_path, [4], kill=4, kill_times=9)


def test_a_ray_of_its_own_is_started_and_ended(tmp_path: Path) -> None:
    import ray

    ray.shutdown()
    assert squares(tmp_path, [1, 2, 3]) == {1: 1, 2: 4, 3: 9}
    assert not ray.is_initialized()


def test_a_worker_too_large_for_the_cluster_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="asks for 7 GPU"):
        squares(tmp_path, [1], ExecutionConfig(executor="ray", workers=1, gpus_per_worker=7))
