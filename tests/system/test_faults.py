"""Kill, stop and mistype: what must happen."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pipelines.curves import read_curve
from tests.system.conftest import Project

pytestmark = pytest.mark.system


def curves(project: Project, run: str = "tiny") -> dict[str, list[float]]:
    """Losses by stage."""
    store = project.store
    prefixes = sorted({key.split("/curve/")[0] for key in store.list(f"runs/{run}/") if "/curve/" in key})
    return {prefix.rsplit("/", 1)[1]: [row["loss"] for row in read_curve(store, prefix)] for prefix in prefixes}


def wait_for_commit(
    project: Project, process: subprocess.Popen[str], stage: str, *, run: str = "tiny", seconds: float = 240
) -> None:
    deadline = time.monotonic() + seconds
    while not any(f"/{stage}-" in key and "/commits/" in key for key in project.store.list(f"runs/{run}/")):
        assert process.poll() is None, "it ended without a checkpoint"
        assert time.monotonic() < deadline, "no checkpoint was committed in time"
        time.sleep(0.05)


def other_life(trained: Project, folder: Path) -> Project:
    """The same dataset in a project of its own, so that the run starts anew."""
    store = folder / "store"
    store.mkdir(parents=True)
    source = trained.store.local_path("datasets")
    assert source is not None
    (store / "datasets").symlink_to(source)
    (store / "annotations").symlink_to(source.parent / "annotations")
    return Project(folder, f"file://{store}", trained.extra)


def test_kill_9_in_stage_two_then_the_same_losses_to_the_bit(trained: Project, tmp_path: Path) -> None:
    project = other_life(trained, tmp_path)
    process = project.start(["train"])
    wait_for_commit(project, process, "align-audio")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    said = project.deemo("train")
    assert "resumed at step" in said
    assert "align-video: done before" in said
    assert curves(project) == curves(trained)
    proof = project.deemo("dataset", "audit")
    for stage, epochs in (("align-video", 2), ("align-audio", 8), ("instruct", 1)):
        line = next(line for line in proof.splitlines() if line.startswith(f"{stage}:"))
        assert line.endswith(f"examples {epochs} times") and "0 times" not in line.split("fed:")[1]
    assert "attempt 2 made steps" in proof


def test_sigterm_leaves_a_checkpoint_and_exit_75(trained: Project, tmp_path: Path) -> None:
    project = other_life(trained, tmp_path)
    process = project.start(["train"])
    wait_for_commit(project, process, "align-audio")
    os.kill(process.pid, signal.SIGTERM)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 75, said[-3000:]
    assert "left a checkpoint" in said.splitlines()[-1]
    project.deemo("train")
    assert curves(project) == curves(trained)


@pytest.mark.parametrize(
    ("verb", "override", "said"),
    [
        ("train", "engine.rank=2", "there is no key 'engine.rank' - did you mean 'ranks'?"),
        ("train", "data.version=v9", "is not there or not complete"),
        ("preprocess", "data.manifest=file:///nowhere/m.parquet", "/nowhere"),
        ("preprocess", "keys.source=environment", "there is no root key"),
        ("preprocess", "storage.root=file:///proc/nowhere", "/proc/nowhere"),
        ("evaluate", "evaluation.task=explain", "no task with choices"),
        ("train", "tracking.uri=http://127.0.0.1:9", "127.0.0.1:9"),
    ],
)
def test_a_mistake_is_one_clear_line(project: Project, verb: str, override: str, said: str) -> None:
    process = project.start([verb], override)
    output = process.communicate(timeout=120)[0]
    assert process.returncode in (1, 2)
    assert said in output.splitlines()[-1]
    assert "Traceback" not in output
