"""Fixtures of tracking: an embedded MLflow shared by the fast tests (its creation takes 3 s), a client to look into."""

from pathlib import Path

import pytest

from deemo_dist.config import TrackingConfig
from deemo_dist.tracking import Tracker


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Folder of the embedded MLflow."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def opened(folder, tmp_path):
    """Opens trackers on one spool, as the lives of one run do."""

    def open_tracker(run_name="chain", spool=None, config=None, place=None, **rest) -> Tracker:
        return Tracker.open(
            config or TrackingConfig(),
            spool_dir=spool or tmp_path / "spool",
            folder=place or folder,
            run_name=run_name,
            **rest,
        )

    return open_tracker


class Looker:
    """Reads runs back through MLflow's own client."""

    def __init__(self, uri: str) -> None:
        import mlflow

        self.client = mlflow.tracking.MlflowClient(uri, registry_uri=uri)

    def runs(self, run_name: str) -> dict[str, object]:
        """Runs of a chain by MLflow name."""
        ids = [item.experiment_id for item in self.client.search_experiments()]
        found = self.client.search_runs(ids, filter_string=f"tags.`deemo.run` = '{run_name}'")
        return {run.info.run_name: run for run in found}

    def count(self, run_name: str) -> int:
        """How many runs, doubles included."""
        ids = [item.experiment_id for item in self.client.search_experiments()]
        return len(self.client.search_runs(ids, filter_string=f"tags.`deemo.run` = '{run_name}'"))

    def steps(self, run_id: str, key: str) -> list[int]:
        """Steps of a metric, sorted, with doubles."""
        return sorted(metric.step for metric in self.client.get_metric_history(run_id, key))

    def artifacts(self, run_id: str, path: str | None = None) -> list[str]:
        """Names of artifacts."""
        return [item.path for item in self.client.list_artifacts(run_id, path)]


@pytest.fixture
def look(folder):
    """Looker into the embedded MLflow."""
    return Looker(f"sqlite:///{Path(folder).absolute() / 'mlflow.db'}")
