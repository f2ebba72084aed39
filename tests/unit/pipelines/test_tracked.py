"""What waits for MLflow on this machine, sent by the command."""

import dataclasses
import time
from pathlib import Path

import pytest

from deemo_dist.config import RunConfig, StageConfig, StorageConfig, TrackingConfig
from deemo_dist.errors import TrainingError
from deemo_dist.storage import open_store
from deemo_dist.tracking import pending
from pipelines.tracked import open_tracker, run_replay, spool_folder, tell_failed, tracking_folder
from pipelines.train import run_train


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    stage = StageConfig(tasks=(), trains={})
    return RunConfig(
        name="tiny",
        storage=StorageConfig(root=f"file://{tmp_path}/store", cache=str(tmp_path / "cache")),
        stages=dict.fromkeys(("align", "tune", "chat"), stage),
    )


def _runs(config: RunConfig) -> dict[str, str]:
    """Status of the runs in the embedded MLflow, by name."""
    import mlflow

    client = mlflow.tracking.MlflowClient(f"sqlite:///{tracking_folder(config).absolute() / 'mlflow.db'}")
    ids = [item.experiment_id for item in client.search_experiments()]
    return {run.info.run_name: run.info.status for run in client.search_runs(ids)}


@pytest.mark.slow
def test_records_of_an_outage_are_sent_by_the_command(config: RunConfig) -> None:
    away = dataclasses.replace(config, tracking=TrackingConfig(uri="http://127.0.0.1:9"))
    with open_tracker(away, open_store(config.storage)) as tracker:
        tracker.stage("align").log_metrics({"loss": 1.0}, step=1)
    waiting = pending(spool_folder(config))
    assert waiting >= 3
    assert run_replay(config) == waiting
    assert _runs(config) == {"tiny": "RUNNING", "align": "FINISHED"}
    assert run_replay(config) == 0


def _left_running(config: RunConfig) -> None:
    """What a first rank that was killed leaves behind."""
    tracker = open_tracker(config, open_store(config.storage))
    tracker.parent()
    tracker.stage("align").finish()
    tracker.stage("tune")
    tracker.close()


@pytest.mark.slow
def test_a_launcher_ends_what_runs_and_nothing_else(config: RunConfig) -> None:
    tell_failed(config)
    assert not tracking_folder(config).exists()
    _left_running(config)
    assert _runs(config) == {"tiny": "RUNNING", "align": "FINISHED", "tune": "RUNNING"}
    tell_failed(config)
    assert _runs(config) == {"tiny": "FAILED", "align": "FINISHED", "tune": "FAILED"}
    tell_failed(config, killed=True)
    assert _runs(config) == {"tiny": "FAILED", "align": "FINISHED", "tune": "FAILED"}


@pytest.mark.slow
def test_a_launcher_does_not_wait_for_an_mlflow_that_is_away(config: RunConfig) -> None:
    _left_running(config)
    started = time.monotonic()
    tell_failed(dataclasses.replace(config, tracking=TrackingConfig(uri="http://127.0.0.1:9")))
    assert time.monotonic() - started < 15
    assert _runs(config)["tune"] == "RUNNING" and pending(spool_folder(config)) == 4
    assert run_replay(config) == 4
    assert _runs(config) == {"tiny": "FAILED", "align": "FINISHED", "tune": "FAILED"}


@pytest.mark.parametrize("world", ["1", "2"])
def test_a_lone_task_starts_the_ranks_and_one_of_several_is_one(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, world: str
) -> None:
    done: list[str] = []
    monkeypatch.setattr("pipelines.train.load", lambda run, overrides: config)
    monkeypatch.setattr("pipelines.train.open_allowed", lambda *_: None)
    monkeypatch.setattr("pipelines.train.run_worker", lambda *_: done.append("a rank"))
    monkeypatch.setattr("pipelines.train.run_ranks", lambda *_, **__: done.append("ranks") or 0)
    for name, value in (("STEP_ID", "0"), ("PROCID", "0"), ("NTASKS", world), ("JOB_NODELIST", "n1")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    run_train("tiny", [])
    assert done == [{"1": "ranks", "2": "a rank"}[world]]


@pytest.mark.slow
@pytest.mark.parametrize(("code", "status"), [(70, "FAILED"), (137, "FAILED"), (130, "KILLED")])
def test_a_training_whose_first_rank_was_killed_has_its_true_status(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, code: int, status: str
) -> None:
    _left_running(config)
    monkeypatch.setattr("pipelines.train.load", lambda run, overrides: config)
    monkeypatch.setattr("pipelines.train.open_allowed", lambda *_: None)
    monkeypatch.setattr("pipelines.train.run_ranks", lambda *_, **__: code)
    with pytest.raises(TrainingError, match=str(code)):
        run_train("tiny", [])
    assert _runs(config) == {"tiny": status, "align": "FINISHED", "tune": status}
