"""Fixtures of tracking: an embedded MLflow shared by the fast tests (its creation takes 3 s), a client to look into."""

import time
from pathlib import Path

import pytest

from deemo_dist.config import TrackingConfig
from deemo_dist.tracking import TrackedRun, Tracker
from deemo_dist.tracking.connection import Connection
from deemo_dist.tracking.delivery import Delivery

WHERE = Connection(uri="http://mlflow.example", experiment="e", artifacts=None)


class Fake(Delivery):
    """Takes everything, but what ``wrong`` has an error for, by the event's name or kind."""

    def __init__(self, spool) -> None:
        super().__init__(WHERE, lambda name, proposal: proposal, spool)
        self.taken: list[str] = []
        self.wrong: dict[str, Exception] = {}

    def alive(self) -> bool:
        return True

    def deliver(self, header, event) -> None:
        assert header["key"] == "k"
        name = event.get("name", event["kind"])
        if name in self.wrong:
            raise self.wrong[name]
        self.taken.append(name)

    def deliver_metrics(self, header, events) -> None:
        for event in events:
            self.deliver(header, event)


def seconds_of_steps(run: TrackedRun, steps: int) -> list[float]:
    """What logging 20 metrics takes a step, ascending."""
    values = {f"metric.{n}": float(n) for n in range(20)}
    took = []
    for step in range(steps):
        started = time.perf_counter()
        run.log_metrics(values, step=step)
        took.append(time.perf_counter() - started)
        time.sleep(0.001)
    return sorted(took)


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
