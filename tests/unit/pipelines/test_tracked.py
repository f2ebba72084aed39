"""What waits for MLflow on this machine, sent by the command."""

import dataclasses
import time
from pathlib import Path

import pytest

from deemo_dist.config import RunConfig, StageConfig, StorageConfig, TrackingConfig
from deemo_dist.errors import StorageError, TrackingError, TrainingError
from deemo_dist.storage import open_store
from deemo_dist.storage.local import LocalStore
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


def _elsewhere(config: RunConfig, name: str) -> RunConfig:
    """The same run on another machine: nothing but the storage is shared."""
    storage = dataclasses.replace(config.storage, cache=str(Path(config.storage.cache).with_name(name)))
    return dataclasses.replace(config, storage=storage)


@pytest.mark.slow
def test_a_machine_that_never_ran_the_job_sends_what_the_storage_keeps(config: RunConfig) -> None:
    store = open_store(config.storage)
    away = dataclasses.replace(config, tracking=TrackingConfig(uri="http://127.0.0.1:9"))
    with open_tracker(away, store) as tracker:
        stage = tracker.stage("align")
        stage.log_metrics({"loss": 1.0}, step=1)
        stage.log_text("what was measured", "note.txt")
    waiting = pending(spool_folder(config))
    assert len(store.list("runs/tiny/spool")) == 3
    laptop = _elsewhere(config, "laptop")
    assert run_replay(laptop) == waiting
    assert _runs(laptop) == {"tiny": "RUNNING", "align": "FINISHED"}
    assert store.list("runs/tiny/spool") == [] and not list(spool_folder(laptop).glob("*.jsonl"))
    assert run_replay(laptop) == 0
    assert run_replay(_elsewhere(config, "another")) == 0


def test_a_run_that_told_nothing_has_nothing_to_send(config: RunConfig) -> None:
    with pytest.raises(TrackingError, match="'tiny' has told MLflow nothing yet"):
        run_replay(config)
    assert not spool_folder(config).exists()


@pytest.mark.slow
def test_a_model_of_another_node_is_sent_from_the_storage(config: RunConfig, tmp_path: Path) -> None:
    import mlflow

    store = open_store(config.storage)
    away = dataclasses.replace(config, tracking=TrackingConfig(uri="http://127.0.0.1:9"))
    model = tmp_path / "cache" / "models" / "tiny" / "1"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    store.upload(model / "config.json", "models/tiny/1/config.json")
    with open_tracker(away, store) as tracker:
        tracker.parent().log_model(model, "model", register_as="tiny-model", stored="models/tiny/1")
    (tmp_path / "cache").rename(tmp_path / "lost")
    laptop = _elsewhere(config, "laptop")
    assert run_replay(laptop) == 3
    client = mlflow.tracking.MlflowClient(f"sqlite:///{tracking_folder(laptop).absolute() / 'mlflow.db'}")
    assert client.get_model_version_by_alias("tiny-model", "current").version == 1
    assert not (spool_folder(laptop) / "refused.jsonl").exists()


@pytest.mark.slow
def test_a_storage_that_is_away_keeps_no_record_of_this_machine_back(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = dataclasses.replace(config, tracking=TrackingConfig(uri="http://127.0.0.1:9"))
    with open_tracker(away, open_store(config.storage)) as tracker:
        tracker.parent().log_metrics({"loss": 1.0}, step=1)
    monkeypatch.setattr(LocalStore, "entries", _fail)
    with pytest.raises(TrackingError, match="3 records were sent from here; what other nodes left cannot be looked"):
        run_replay(config)
    assert _runs(config) == {"tiny": "FINISHED"}
    monkeypatch.undo()
    assert run_replay(config) == 0 and open_store(config.storage).list("runs/tiny/spool") == []


def _fail(*_: object) -> None:
    raise StorageError("the store cannot be reached", hint="wait")


def _left_running(config: RunConfig) -> None:
    """What a first rank that was killed leaves behind."""
    tracker = open_tracker(config, open_store(config.storage))
    tracker.parent()
    tracker.stage("align").finish()
    tracker.stage("tune")
    tracker.close()


def _train(config: RunConfig, key: str, losses: list[float]) -> dict[str, str]:
    with open_tracker(config, open_store(config.storage)) as tracker:
        run = tracker.stage("align", training=key)
        for step, loss in enumerate(losses):
            run.log_metrics({"loss": loss}, step=step)
        tracker.flush()
        return tracker.run_ids()


@pytest.mark.slow
def test_another_training_under_the_same_name_keeps_its_own_curve(config: RunConfig) -> None:
    """Its first steps were taken for what the first training's run had already, and dropped."""
    import mlflow

    first = _train(config, "a" * 64, [3.0, 2.0, 1.0])["stages/align"]
    other = _train(config, "b" * 64, [9.0, 8.0, 7.0])["stages/align"]
    assert first != other
    assert _train(config, "a" * 64, [3.0, 2.0, 1.0, 0.5])["stages/align"] == first
    assert _train(_elsewhere(config, "b"), "b" * 64, [])["stages/align"] != first
    client = mlflow.tracking.MlflowClient(f"sqlite:///{tracking_folder(config).absolute() / 'mlflow.db'}")
    curves = [[each.value for each in client.get_metric_history(run, "loss")] for run in (first, other)]
    assert curves == [[3.0, 2.0, 1.0, 0.5], [9.0, 8.0, 7.0]]
    assert _runs(config) == {"tiny": "RUNNING", "align": "FINISHED", "align@bbbbbbbbbbbb": "FINISHED"}
    assert {client.get_run(run).data.tags["deemo.stage"] for run in (first, other)} == {"align"}
    tracker = open_tracker(config, open_store(config.storage))
    tracker.stage("align", training="b" * 64)
    tracker.close()
    tell_failed(config)
    assert _runs(config) == {"tiny": "FAILED", "align": "FINISHED", "align@bbbbbbbbbbbb": "FAILED"}


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
    monkeypatch.setattr("pipelines.train.open_allowed", lambda *_, **__: None)
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
    monkeypatch.setattr("pipelines.train.open_allowed", lambda *_, **__: None)
    monkeypatch.setattr("pipelines.train.run_ranks", lambda *_, **__: code)
    with pytest.raises(TrainingError, match=str(code)):
        run_train("tiny", [])
    assert _runs(config) == {"tiny": status, "align": "FINISHED", "tune": status}
