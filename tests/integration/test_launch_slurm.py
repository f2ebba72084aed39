"""Jobs on a real SLURM of two nodes: placement, requeue, preemption, failures."""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.local.slurm import LocalSlurm
from deemo_dist.config import LaunchConfig
from deemo_dist.dataset import write_manifest
from deemo_dist.errors import LaunchError
from deemo_dist.launch import Job, JobHandle
from deemo_dist.launch.submission import send
from deemo_dist.storage import open_store
from pipelines.preprocess import run_preprocess
from tests.made import clips_of, config_of

pytestmark = pytest.mark.slow

ALL_REDUCE = """
import torch, torch.distributed as dist
from deemo_dist.environ import placement
here = placement()
import os; os.environ.update(here.variables())
dist.init_process_group("gloo")
total = torch.tensor([here.rank + 1.0]); dist.all_reduce(total)
node = os.environ["SLURMD_NODENAME"]
print(f"rank {here.rank} of {here.world} by {here.launcher} on {node}: {total.item()}", flush=True)
dist.destroy_process_group()
"""

# Trains until told to stop; then rank 0 commits (a letter in the file, if it may) and all exit with 75. With as many
# commits as it wants it is done.
TRAINER = """
import os, signal, sys, time
rank, commits, wanted, may_commit = os.environ["SLURM_PROCID"], sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
told = []
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda n, f: told.append(signal.Signals(n).name))
done = len(open(commits).read())
print(f"rank {rank} starts after {done} commits", flush=True)
limit = time.monotonic() + (2 if done >= wanted else 90)
while not told and time.monotonic() < limit:
    time.sleep(0.1)
if not told:
    print(f"rank {rank} is done", flush=True); sys.exit(0)
print(f"rank {rank} heard {told[0]}", flush=True)
if rank == "0" and may_commit:
    time.sleep(1); open(commits, "a").write("x")
sys.exit(75)
"""

# Commits when told, and then rank 0 does not leave.
SLOW_TO_LEAVE = """
import os, signal, sys, time
rank, commits, told = os.environ["SLURM_PROCID"], sys.argv[1], []
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda n, f: told.append(n))
done = len(open(commits).read())
print(f"rank {rank} starts after {done} commits", flush=True)
while not told and not done:
    time.sleep(0.1)
if rank == "0" and not done:
    open(commits, "a").write("x")
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        time.sleep(0.1)
sys.exit(0 if done else 75)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalSlurm]:
    with LocalSlurm() as slurm:
        yield slurm


@pytest.fixture
def slurm(cluster: LocalSlurm, monkeypatch: pytest.MonkeyPatch) -> LocalSlurm:
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    return cluster


def _script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "body.py"
    path.write_text(text)
    return str(path)


def _train(tmp_path: Path, *body: str, **more: Any) -> JobHandle:
    room: dict[str, Any] = {"nodes": 2, "minutes": 5, "requeues": 1, "partition": "batch"}
    launch = LaunchConfig(**{**room, **more}, logs=str(tmp_path / "logs"))
    commits = tmp_path / "commits"
    commits.touch()
    progress = ("stat", "-c", "%s", str(commits))
    failed = ("touch", str(tmp_path / "failed"))
    job = Job(verb="train", run="tiny", launch=launch, body=(sys.executable, *body), progress=progress, failed=failed)
    return send("slurm", job)


def _trainer(tmp_path: Path, *, commits: int, may_commit: bool = True, **more: Any) -> JobHandle:
    arguments = (str(tmp_path / "commits"), str(commits), str(may_commit))
    return _train(tmp_path, "-S", _script(tmp_path, TRAINER), *arguments, **more)


def _wait_for(slurm: LocalSlurm, job: str, text: str, seconds: float = 40) -> None:
    limit = time.monotonic() + seconds
    while text not in slurm.output(job):
        assert time.monotonic() < limit, f"{text!r} did not come:\n{slurm.output(job)}"
        time.sleep(0.3)


def test_two_ranks_on_two_nodes_meet(slurm: LocalSlurm, tmp_path: Path) -> None:
    handle = _train(tmp_path, _script(tmp_path, ALL_REDUCE))
    state, output = handle.wait(120, poll=1), slurm.output(handle.id)
    assert state == "succeeded", output
    assert "rank 0 of 2 by slurm on node1: 3.0" in output
    assert "rank 1 of 2 by slurm on node2: 3.0" in output


def test_a_stopped_job_is_requeued_once_and_then_ends(slurm: LocalSlurm, tmp_path: Path) -> None:
    """What the time limit does: USR1 to the batch shell, a checkpoint, 75, a requeue, and the end of the training."""
    handle = _trainer(tmp_path, commits=1)
    _wait_for(slurm, handle.id, "rank 1 starts after 0")
    slurm.run("scancel", "--batch", "--signal=USR1", handle.id)
    _wait_for(slurm, handle.id, "rank 1 is done", 60)
    assert handle.wait(30, poll=1) == "succeeded"
    output = slurm.output(handle.id)
    assert output.count("requeued (restart 1 of at most 1)") == 1
    assert "rank 1 heard SIGUSR1" in output
    assert "rank 0 starts after 1 commits" in output


def test_requeues_are_bounded(slurm: LocalSlurm, tmp_path: Path) -> None:
    handle = _trainer(tmp_path, commits=9, requeues=1)
    for life in ("0", "1"):
        _wait_for(slurm, handle.id, f"rank 1 starts after {life}")
        slurm.run("scancel", "--batch", "--signal=USR1", handle.id)
    assert handle.wait(60, poll=1) == "failed"
    assert "requeued 1 times already, the limit: not requeued" in slurm.output(handle.id)


def test_a_stop_without_a_committed_step_is_not_requeued(slurm: LocalSlurm, tmp_path: Path) -> None:
    handle = _trainer(tmp_path, commits=1, may_commit=False, requeues=5)
    _wait_for(slurm, handle.id, "rank 1 starts")
    slurm.run("scancel", "--batch", "--signal=USR1", handle.id)
    assert handle.wait(60, poll=1) == "failed"
    assert "no step was committed since the start (0): not requeued" in slurm.output(handle.id)


def test_a_preempted_job_writes_a_checkpoint_and_comes_back(slurm: LocalSlurm, tmp_path: Path) -> None:
    handle = _trainer(tmp_path, commits=1)
    _wait_for(slurm, handle.id, "rank 1 starts after 0")
    urgent = slurm.submit("#!/bin/bash\nsleep 3\n", "--nodes=2", "--exclusive", "--partition=urgent")
    assert slurm.wait(urgent, seconds=60) == "COMPLETED"
    _wait_for(slurm, handle.id, "rank 1 is done", 90)
    assert handle.wait(30, poll=1) == "succeeded"
    assert "heard SIGTERM" in slurm.output(handle.id)
    assert "rank 0 starts after 1 commits" in slurm.output(handle.id)


def test_the_ranks_are_told_to_stop_where_another_step_ran_before(slurm: LocalSlurm, tmp_path: Path) -> None:
    handle = _trainer(tmp_path, commits=1, setup=("srun --ntasks-per-node=1 true",))
    _wait_for(slurm, handle.id, "rank 0 starts after 0")
    _wait_for(slurm, handle.id, "rank 1 starts after 0")
    slurm.run("scancel", "--batch", "--signal=USR1", handle.id)
    _wait_for(slurm, handle.id, "rank 1 is done", 60)
    assert handle.wait(40, poll=1) == "succeeded"
    for rank in (0, 1):
        assert f"rank {rank} heard SIGUSR1" in slurm.output(handle.id)


def test_a_stop_whose_first_rank_is_slow_to_leave_is_no_failure(slurm: LocalSlurm, tmp_path: Path) -> None:
    """SLURM ends the step once a rank has exited with 75, and kills after KillWait what is left."""
    handle = _train(tmp_path, "-S", _script(tmp_path, SLOW_TO_LEAVE), str(tmp_path / "commits"))
    _wait_for(slurm, handle.id, "rank 0 starts after 0")
    _wait_for(slurm, handle.id, "rank 1 starts after 0")
    slurm.run("scancel", "--batch", "--signal=USR1", handle.id)
    _wait_for(slurm, handle.id, "rank 1 starts after 1 commits", 60)
    assert handle.wait(40, poll=1) == "succeeded"
    assert "task 0: Killed" in slurm.output(handle.id)
    assert slurm.output(handle.id).count("requeued (restart 1 of at most 1)") == 1


def test_a_cancelled_job_stays_cancelled(slurm: LocalSlurm, tmp_path: Path) -> None:
    """Its ranks hear TERM as before a preemption, write a checkpoint and exit with 75: nobody wants them back."""
    handle = _trainer(tmp_path, commits=1)
    _wait_for(slurm, handle.id, "rank 0 starts after 0")
    _wait_for(slurm, handle.id, "rank 1 starts after 0")
    slurm.run("scancel", handle.id)
    assert slurm.wait(handle.id, seconds=40) == "CANCELLED"
    assert "cancelled: not requeued" in slurm.output(handle.id)
    assert (tmp_path / "commits").read_text() == "x" and not (tmp_path / "failed").exists()


def test_a_dead_rank_is_named_and_takes_the_others_along(slurm: LocalSlurm, tmp_path: Path) -> None:
    body = "import os, time\nif os.environ['SLURM_PROCID'] == '1': os.kill(os.getpid(), 9)\ntime.sleep(90)"
    started = time.monotonic()
    handle = _train(tmp_path, "-S", "-c", body)
    assert handle.wait(60, poll=1) == "failed"
    assert time.monotonic() - started < 40
    output = slurm.output(handle.id)
    assert "node2: task 1: Killed" in output
    assert "requeued" not in output
    assert (tmp_path / "failed").exists()


def test_preprocessing_runs_as_an_array_and_then_commits(slurm: LocalSlurm, tmp_path: Path) -> None:
    body = f"import sys; open({str(tmp_path / 'calls')!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10))"
    launch = LaunchConfig(tasks=3, minutes=5, logs=str(tmp_path / "logs"))
    job = Job(verb="preprocess", run="tiny", launch=launch, body=(sys.executable, "-S", "-c", body))
    handle = send("slurm", job)
    assert len(handle.ids) == 2
    assert handle.wait(60, poll=1) == "succeeded"
    calls = (tmp_path / "calls").read_text().splitlines()
    assert sorted(calls[:3]) == [f"execution.task={task}" for task in range(3)]
    assert calls[3:] == [""]


def test_the_end_of_preprocessing_does_not_run_after_a_failed_task(slurm: LocalSlurm, tmp_path: Path) -> None:
    launch = LaunchConfig(tasks=2, minutes=5, logs=str(tmp_path / "logs"))
    handle = send("slurm", Job(verb="preprocess", run="tiny", launch=launch, body=("false",)))
    assert handle.wait(60, poll=1) in ("failed", "stopped")


def test_nothing_is_left_of_what_the_tasks_of_a_failing_array_were_told(
    slurm: LocalSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each task reads it, and fails: the raw clips are on a file system that is not mounted."""
    monkeypatch.setenv("DEEMO_ROOT_KEY", os.urandom(32).hex())
    monkeypatch.setattr("deemo_dist.execution.array.POLL_SECONDS", 1.0)
    config, clips = config_of(tmp_path), clips_of(1)
    store = open_store(config.storage)
    launch = LaunchConfig(tasks=1, minutes=5, logs=str(tmp_path / "logs"))
    where = replace(config.execution, executor="slurm", workers=1)
    data = replace(config.data, manifest=store.uri(write_manifest(clips, store)[0]))
    with pytest.raises(LaunchError, match="task 0 ended 3 times without a new result"):
        run_preprocess(replace(config, data=data, launch=launch, execution=where))
    outputs = [path.read_text() for path in (tmp_path / "logs").iterdir()]
    assert len(outputs) == 3 and all("cannot be looked for: its folder is not there" in text for text in outputs)
    assert not any(clips[0].uri in text for text in outputs)
    assert [path.name for path in (tmp_path / "logs").iterdir() if path.suffix != ".out"] == []
    assert list((tmp_path / "logs.private").iterdir()) == []
