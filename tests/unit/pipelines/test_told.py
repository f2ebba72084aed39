"""What the tasks of an array are told: where its owner alone reads it, while there are tasks."""

from dataclasses import replace
from pathlib import Path

import pytest

from deemo_dist.config import RunConfig, load
from deemo_dist.errors import LaunchError
from deemo_dist.storage import open_store
from pipelines import array
from pipelines.array import preprocess_array
from pipelines.told import Told


@pytest.fixture
def slurm(config: RunConfig, tmp_path: Path) -> RunConfig:
    """A run that goes to SLURM, whose manifest is called after somebody."""
    launch = replace(config.launch, logs=str(tmp_path / "logs"), tasks=3)
    data = replace(config.data, manifest="file:///raw/Zora Zamboni.parquet")
    return replace(config, execution=replace(config.execution, executor="slurm", workers=4), launch=launch, data=data)


def left(folder: Path) -> list[str]:
    """The files below ``folder``."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def test_it_is_the_run_itself_for_its_owner_alone_and_not_among_the_logs(
    slurm: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told.of(slurm)
    told.path.parent.mkdir(mode=0o755)
    told.write(slurm)
    told.write(slurm)
    assert load(told.path) == slurm
    assert told.path.stat().st_mode & 0o077 == told.path.parent.stat().st_mode & 0o077 == 0
    assert left(tmp_path) == [f"logs.private/{told.path.name}"]
    assert Told.of(replace(slurm, launch=replace(slurm.launch, tasks=4))).path != told.path
    monkeypatch.setattr("os.getuid", lambda: told.path.stat().st_uid + 1)
    with pytest.raises(LaunchError, match=r"cannot be written to .*logs.private: it is somebody else's"):
        told.write(slurm)


def test_it_is_there_from_the_first_task_to_the_end_of_the_last(
    slurm: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that an earlier release left among the logs is taken away too."""
    asked: list[tuple[str, bool]] = []
    monkeypatch.setattr(array, "submit_tasks", lambda job, numbers: asked.append((job.run, Path(job.run).exists())))
    monkeypatch.setattr(array, "cancel_named", lambda name, *, waiting: asked.append((name, waiting)))
    made, told = preprocess_array(slurm, open_store(slurm.storage), "datasets/demo/v1", ()), Told.of(slurm)
    made.ended()
    assert not asked and not left(tmp_path)
    told.before.parent.mkdir()
    told.before.touch()
    made.submit([0, 2])
    assert asked == [(str(told.path), True)]
    assert load(told.path).execution.executor == "local"
    made.ended()
    assert asked[1:] == [(f"deemo-preprocess-{told.path.stem}", True)] and not left(tmp_path)


def test_it_is_left_for_tasks_that_slurm_may_still_begin(
    slurm: RunConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def silent(name: str, *, waiting: bool) -> None:
        raise LaunchError("scancel did not answer")

    monkeypatch.setattr(array, "submit_tasks", lambda job, numbers: None)
    monkeypatch.setattr(array, "cancel_named", silent)
    made, told = preprocess_array(slurm, open_store(slurm.storage), "datasets/demo/v1", ()), Told.of(slurm)
    made.submit([0])
    made.ended()
    assert told.path.exists()
