"""What goes wrong in an actor on a real local Ray is one line of the project's own."""

import functools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deemo_dist.errors import LaunchError
from deemo_dist.launch.ray_answers import NodeLostError, answer, join_cluster
from deemo_dist.launch.ray_ranks import RankActor

TORCHRUN = {"MASTER_ADDR": "127.0.0.1"}


@pytest.fixture(scope="module")
def actor() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        ray.init(
            address="local", include_dashboard=False, num_cpus=1, object_store_memory=100 * 2**20, log_to_driver=False
        )
        yield ray.remote(RankActor).options(num_cpus=1).remote()
        ray.shutdown()


def test_no_ray_on_this_machine_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", functools.cache(set))  # whatever else runs here
    with pytest.raises(LaunchError, match=r"Ray does not answer on this machine: .+ - .*ray status") as caught:
        join_cluster()
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_folder_that_a_node_has_not_is_said_and_is_no_lost_node(actor: Any, tmp_path: Path) -> None:
    begun = actor.start.remote([sys.executable, "-c", ""], TORCHRUN, str(tmp_path / "none"))
    with pytest.raises(LaunchError, match=r"rank 1 of 2 failed on its node: FileNotFoundError.*/none") as caught:
        answer(begun, who="rank 1 of 2")
    assert not isinstance(caught.value, NodeLostError), "it would be placed anew, and fail again"
    assert "launch.workdir" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_an_actor_that_is_gone_is_a_lost_node(actor: Any) -> None:
    import ray

    ray.kill(actor)
    with pytest.raises(NodeLostError, match="rank 0 of 2 was lost with its node or its actor - Ray says: "):
        for _ in range(100):  # killed soon, not at once
            answer(actor.tail.remote(), who="rank 0 of 2")
            time.sleep(0.1)
