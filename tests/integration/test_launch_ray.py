"""Jobs on a real Ray of two nodes: placement, failures, stopping, the loss of a node."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.local.ray import LocalRay
from deemo_dist.config import LaunchConfig
from deemo_dist.launch import Job, JobHandle
from deemo_dist.launch.ray import connect
from deemo_dist.launch.submission import send

pytestmark = pytest.mark.slow

ALL_REDUCE = """
import torch, torch.distributed as dist
from deemo_dist.environ import placement
here = placement()
dist.init_process_group("gloo")
total = torch.tensor([here.rank + 1.0]); dist.all_reduce(total)
print(f"rank {here.rank} of {here.world} by {here.launcher}: {total.item()}", flush=True)
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def ray() -> Iterator[LocalRay]:
    with LocalRay(cpus=2) as cluster:
        yield cluster


def _send(ray: LocalRay, tmp_path: Path, text: str, *, ranks: int = 2, wait: float = 30) -> JobHandle:
    body = tmp_path / "body.py"
    body.write_text(text)
    launch = LaunchConfig(nodes=ranks, ray_address=ray.job_address, ray_wait_seconds=wait, requeues=2)
    return send("ray", Job(verb="train", run="tiny", launch=launch, body=(sys.executable, str(body))))


def _logs(ray: LocalRay, handle: JobHandle) -> str:
    return connect(ray.job_address).get_job_logs(handle.id)


def _until(ready: object, seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not ready():  # type: ignore[operator]
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.3)


def test_two_ranks_on_two_nodes_meet(ray: LocalRay, tmp_path: Path) -> None:
    handle = _send(ray, tmp_path, ALL_REDUCE)
    state, logs = handle.wait(120, poll=0.5), _logs(ray, handle)
    assert state == "succeeded", logs
    assert "2 ranks on 2 nodes" in logs
    assert "rank 0 of 2 by ray: 3.0" in logs
    assert "rank 1 of 2" not in logs


def test_neighbouring_ranks_share_a_node(ray: LocalRay, tmp_path: Path) -> None:
    """Ray spreads the ranks, node after node in turn; they are numbered by node all the same."""
    text = f"import os\nopen({str(tmp_path)!r} + '/at-' + os.environ['RANK'], 'w').write(os.environ['LOCAL_RANK'])"
    handle = _send(ray, tmp_path, text, ranks=4)
    state, logs = handle.wait(120, poll=0.5), _logs(ray, handle)
    assert state == "succeeded", logs
    assert "4 ranks on 2 nodes" in logs
    assert [(tmp_path / f"at-{rank}").read_text() for rank in range(4)] == ["0", "1", "0", "1"]


def test_a_dead_rank_is_named_and_the_others_are_ended(ray: LocalRay, tmp_path: Path) -> None:
    text = "import os, sys, time\nif os.environ['RANK'] == '1':\n  print('no such tensor', flush=True)\n"
    handle = _send(ray, tmp_path, f"{text}  os.kill(os.getpid(), 9)\ntime.sleep(100)")
    assert handle.wait(60, poll=0.5) == "failed"
    logs = _logs(ray, handle)
    assert "rank 1 of 2 on 127.0.0." in logs
    assert "was ended by SIGKILL; the others are ended" in logs
    assert "rank 1 | no such tensor" in logs
    assert "exit code 137" in connect(ray.job_address).get_job_info(handle.id).message


def test_a_stopped_job_writes_its_checkpoint(ray: LocalRay, tmp_path: Path) -> None:
    text = f"""
import os, signal, sys, time
folder, rank = {str(tmp_path)!r}, os.environ["RANK"]
def stop(number, frame):
    open(f"{{folder}}/saved-{{rank}}", "w").close()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
open(f"{{folder}}/up-{{rank}}", "w").close()
time.sleep(100)
"""
    handle = _send(ray, tmp_path, text)
    _until(lambda: (tmp_path / "up-0").exists() and (tmp_path / "up-1").exists())
    connect(ray.job_address).stop_job(handle.id)
    assert handle.wait(60, poll=0.5) == "stopped"
    _until(lambda: (tmp_path / "saved-0").exists() and (tmp_path / "saved-1").exists(), 5)


def test_too_little_room_is_said(ray: LocalRay, tmp_path: Path) -> None:
    handle = _send(ray, tmp_path, "", ranks=5, wait=2)
    assert handle.wait(60, poll=0.5) == "failed"
    assert "the cluster had no room for 5 x {'CPU': 1.0} within 2 s - it has 4 CPU" in _logs(ray, handle)


def test_a_lost_node_is_survived(ray: LocalRay, tmp_path: Path) -> None:
    """Last: the second node is gone after it. The ranks are placed anew on what is left."""
    text = f"""
import os, time
path = {str(tmp_path)!r} + "/life-" + os.environ["RANK"]
again = os.path.exists(path)
open(path, "a").close()
time.sleep(1 if again else 300)
print("rank", os.environ["RANK"], "again" if again else "first", flush=True)
"""
    handle = _send(ray, tmp_path, text)
    _until(lambda: (tmp_path / "life-0").exists() and (tmp_path / "life-1").exists())
    ray.kill_worker()
    assert handle.wait(120, poll=0.5) == "succeeded", _logs(ray, handle)
    logs = _logs(ray, handle)
    assert "was lost with its node or its actor; the ranks are placed anew (1 of at most 2 times)" in logs
    assert "rank 0 again" in logs
