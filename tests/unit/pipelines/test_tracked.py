"""What waits for MLflow on this machine, sent by the command."""

import dataclasses
from pathlib import Path

import pytest

from deemo_dist.config import RunConfig, StorageConfig, TrackingConfig
from deemo_dist.storage import open_store
from deemo_dist.tracking import pending
from pipelines.tracked import open_tracker, run_replay, spool_folder, tracking_folder


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return RunConfig(name="tiny", storage=StorageConfig(root=f"file://{tmp_path}/store", cache=str(tmp_path / "cache")))


def _runs(config: RunConfig) -> dict[str, str]:
    """Status of the runs in the embedded MLflow, by name."""
    import mlflow

    client = mlflow.tracking.MlflowClient(f"sqlite:///{tracking_folder(config).absolute() / 'mlflow.db'}")
    ids = [item.experiment_id for item in client.search_experiments()]
    return {run.info.run_name: run.info.status for run in client.search_runs(ids)}


def test_records_of_an_outage_are_sent_by_the_command(config: RunConfig) -> None:
    away = dataclasses.replace(config, tracking=TrackingConfig(uri="http://127.0.0.1:9"))
    with open_tracker(away, open_store(config.storage)) as tracker:
        tracker.stage("align").log_metrics({"loss": 1.0}, step=1)
    waiting = pending(spool_folder(config))
    assert waiting >= 3
    assert run_replay(config) == waiting
    assert _runs(config) == {"tiny": "RUNNING", "align": "FINISHED"}
    assert run_replay(config) == 0
