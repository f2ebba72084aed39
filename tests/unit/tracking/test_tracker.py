"""The tracker against a real embedded MLflow."""

import logging
import math
from pathlib import Path

import pytest

from deemo_dist.config import TrackingConfig
from deemo_dist.errors import Interrupted
from deemo_dist.storage.local import LocalStore
from deemo_dist.tracking import Depot, pending, replay, status_of, ui_command
from deemo_dist.tracking import tracker as tracker_module
from deemo_dist.tracking.models import deliver_model
from deemo_dist.tracking.reservations import reserve_in
from tests.unit.tracking.conftest import seconds_of_steps


def test_a_chain_is_a_parent_with_a_child_per_stage(opened, look, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<p>one</p>")
    with opened("tree") as tracker:
        parent = tracker.parent({"deemo.config": "abc"})
        parent.log_params({"model": {"name": "nano", "settings": {}}, "seed": 3, "stages": ["a", "b"]})
        with tracker.stage("align") as stage:
            stage.log_metrics({"loss": 1.5, "bad": math.nan}, step=1, timestamp=1_700_000_000.25)
            stage.log_dataset("demo/v1", "d" * 64, "s3://bucket/datasets/demo", profile={"samples": 7})
        parent.log_artifact(report)
        report.write_text("<p>changed afterwards</p>")
        ids = tracker.run_ids()
    runs = look.runs("tree")
    assert set(runs) == {"tree", "align"} and look.count("tree") == 2
    assert ids == {"parent": runs["tree"].info.run_id, "stages/align": runs["align"].info.run_id}
    assert runs["align"].data.tags["mlflow.parentRunId"] == runs["tree"].info.run_id
    assert {runs[name].info.status for name in runs} == {"FINISHED"}
    assert runs["tree"].data.params == {
        "model.name": "nano",
        "model.settings": "{}",
        "seed": "3",
        "stages": '["a", "b"]',
    }
    (metric,) = look.client.get_metric_history(ids["stages/align"], "loss")
    assert (metric.value, metric.step, metric.timestamp) == (1.5, 1, 1_700_000_000_250)
    assert math.isnan(look.client.get_metric_history(ids["stages/align"], "bad")[0].value)
    dataset = runs["align"].inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest) == ("demo/v1", "d" * 36) and "d" * 64 in dataset.profile
    text = look.client.download_artifacts(ids["parent"], "report.html", str(tmp_path))
    assert "one" in Path(text).read_text()
    assert not list((tmp_path / "spool" / "files").iterdir())


def test_a_restart_continues_the_runs_and_logs_no_step_twice(opened, look, tmp_path):
    for last, status in ((30, "FAILED"), (60, "FINISHED")):
        tracker = opened("again", spool=tmp_path / "one")
        stage = tracker.stage("tune")
        first = 0 if status == "FAILED" else 20  # the checkpoint was at step 20
        for step in range(first, last):
            stage.log_metrics({"loss": 1 / (step + 1)}, step=step)
        stage.finish(status)
        assert tracker.close() == 0
        assert look.runs("again")["tune"].info.status == status
    run_id = look.runs("again")["tune"].info.run_id
    assert look.steps(run_id, "loss") == list(range(60))
    assert look.count("again") == 2


def test_another_machine_continues_by_the_reserved_key(opened, look, tmp_path):
    shared = tmp_path / "run.json.d"
    for node in ("a", "b"):
        tracker = opened("moved", spool=tmp_path / node, reserve=lambda n, p: reserve_in(shared, n, p))
        tracker.stage("tune").log_metrics({"loss": 1.0}, step=5)
        tracker.close()
    assert look.count("moved") == 2
    assert look.steps(look.runs("moved")["tune"].info.run_id, "loss") == [5]


def test_the_loser_of_a_reservation_uses_the_winners_run(opened, look, tmp_path):
    first = opened("race", spool=tmp_path / "a")
    winner = first.parent()
    first.close()
    second = opened("race", spool=tmp_path / "b", reserve=lambda n, p: winner.run_id if n == "mlflow/parent" else p)
    second.parent().log_metrics({"x": 1.0}, step=1)
    second.close()
    assert look.count("race") == 1
    assert look.steps(winner.run_id, "x") == [1]


def test_many_and_long_params_and_changed_ones(opened, look, tmp_path):
    params = {f"group.{n}": n for n in range(250)} | {"long": "x" * 20_000, "odd%name": 1}
    for value in ("2", "4"):
        with opened("params") as tracker:
            tracker.parent().log_params({**params, "ranks": value})
    run = look.runs("params")["params"]
    assert len(run.data.params) == 253
    assert run.data.params["ranks"] == "2" and run.data.tags["deemo.params_changed"] == "ranks"
    assert run.data.params["odd_name"] == "1"
    assert len(run.data.params["long"]) < 400 and "params/long.txt" in run.data.params["long"]
    assert "params/long.txt" in look.artifacts(run.info.run_id, "params")
    assert any(name.startswith("params/changed-") for name in look.artifacts(run.info.run_id, "params"))


def test_a_page_is_masked_where_no_variable_is_secret_too(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(tracker_module, "secret_values", tuple)
    page = tmp_path / "report.html"
    page.write_text("<p>postgresql://anna:S3cret@db/x</p>")
    tracker = opened("page", config=TrackingConfig(uri="http://127.0.0.1:9"), patience=0.1)
    tracker.parent().log_artifact(page)
    tracker.close(0.1)
    assert [path.read_text() for path in tmp_path.rglob("files/*/report.html")] == ["<p>postgresql://***@db/x</p>"]


def test_secrets_are_masked_everywhere(opened, look, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-value")
    page = tmp_path / "config.yaml"
    page.write_text("key: very-secret-value\n")
    depot = Depot(LocalStore(f"file://{tmp_path}/store"), "runs/secret/spool")
    away = TrackingConfig(uri="http://127.0.0.1:9")
    tracker = opened("secret", config=away, depot=depot, patience=0.1)
    run = tracker.parent()
    run.log_params({"storage": {"password": "p"}, "note": "uses very-secret-value", "max_tokens": 5})
    run.set_tags({"uri": "http://user:pass@host/x"})
    run.log_artifact(page, "very-secret-value")
    run.log_text("and very-secret-value", "note.txt")
    run.log_dataset(
        "d very-secret-value", "1", "s3://me:very-secret-value@host/x", profile={"n": ["very-secret-value"]}
    )
    assert tracker.close(0.1) == 6
    for place in (tmp_path / "spool", tmp_path / "store"):
        written = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
        assert b"very-secret-value" not in written and b"user:pass" not in written
        assert written.count(b'"max_tokens":"5"') == 1 and b"and ***" in written
    assert replay(tmp_path / "spool", TrackingConfig(), folder=folder, depot=depot) == 6
    found = look.runs("secret")["secret"]
    assert found.data.params == {"storage.password": "***", "note": "uses ***", "max_tokens": "5"}
    assert found.data.tags["uri"] == "http://***@host/x"
    assert {"note.txt", "***"} <= set(look.artifacts(found.info.run_id))
    assert not list((tmp_path / "spool").glob("*.jsonl")) and depot.store.list("runs") == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (Interrupted("stop"), "KILLED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(75), "KILLED"),
        (SystemExit(1), "FAILED"),
        (ValueError(), "FAILED"),
    ],
)
def test_the_status_is_the_true_one(error, status):
    assert status_of(error) == status


def test_an_error_inside_ends_open_runs_as_failed(opened, look):
    with pytest.raises(ValueError, match="boom"), opened("broken") as tracker:
        tracker.parent()
        tracker.stage("one").finish("FINISHED")
        tracker.stage("two")
        raise ValueError("boom")
    status = {name: run.info.status for name, run in look.runs("broken").items()}
    assert status == {"broken": "FAILED", "one": "FINISHED", "two": "FAILED"}


def test_figures_without_a_step_are_logged_when_they_changed(opened, look):
    for value in (0.5, 0.5, 0.75):
        with opened("figures") as tracker:
            tracker.parent().log_metrics({"accuracy": value})
    run = look.runs("figures")["figures"]
    assert len(look.steps(run.info.run_id, "accuracy")) == 2 and run.data.metrics["accuracy"] == 0.75


def test_nothing_that_is_wrong_raises(opened, caplog, tmp_path):
    logging.getLogger("deemo_dist").propagate = True
    with opened("wrong") as tracker:
        run = tracker.parent()
        run.log_metrics({"loss": "a text", "odd": object()}, step=1)
        run.log_metrics(None, step=1)
        run.log_artifact(tmp_path / "absent")
        run.log_model(tmp_path, "empty")
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "config.json").write_text("{}")
        (tmp_path / "model" / "pytorch_model.bin").write_text("")
        run.log_model(tmp_path / "model", "pickled")
    assert "may hold a pickle" in caplog.text and "is no number" in caplog.text


def test_a_refused_record_is_set_aside_and_the_rest_goes_on(opened, look, tmp_path):
    with opened("refused") as tracker:
        run = tracker.parent()
        tracker.facts.append({"kind": "tags", "run": "parent", "time": 1, "values": {"mlflow.runName%": "x"}})
        tracker.facts.append({"kind": "what", "run": "parent", "time": 1})
        tracker.facts.sync()
        with tracker.facts.path.open("a") as file:
            file.write("not json\n")
        run.log_metrics({"loss": 1.0}, step=1)
    assert pending(tmp_path / "spool") == 0
    assert (tmp_path / "spool" / "refused.jsonl").read_text().count("\n") >= 2
    assert look.steps(look.runs("refused")["refused"].info.run_id, "loss") == [1]


def test_a_tracker_that_is_off_writes_nothing(opened, tmp_path):
    with opened("off", config=TrackingConfig(enabled=False)) as tracker:
        tracker.parent().log_metrics({"x": 1}, step=1)
        tracker.parent().log_text("x", "y.txt")
    assert not list((tmp_path / "spool").glob("*.jsonl")) and not (tmp_path / "spool" / "files").exists()


def test_a_metric_costs_less_than_a_millisecond(opened):
    tracker = opened("fast")
    took = seconds_of_steps(tracker.stage("tune"), 300)
    assert tracker.close() == 0
    assert took[150] < 0.0002 and took[270] < 0.001


def test_the_command_that_opens_the_pages(folder):
    assert ui_command(TrackingConfig(), folder) == f"mlflow ui --backend-store-uri sqlite:///{folder}/mlflow.db"
    assert ui_command(TrackingConfig(uri="http://a:b@host:1"), folder) == "http://***@host:1"


def test_an_upload_of_a_model_that_was_cut_off_goes_on(opened, look, tmp_path):
    exported = tmp_path / "model"
    (exported / "more").mkdir(parents=True)
    for name in ("config.json", "a.safetensors", "more/b.safetensors"):
        (exported / name).write_text(name * 100)
    with opened("cut") as tracker:
        run = tracker.parent()
    experiment = look.runs("cut")["cut"].info.experiment_id
    event = {"directory": str(exported), "name": "nano", "register_as": None}
    sent: list[str] = []

    class Cut:
        """The client, but its third file does not arrive the first time."""

        def __getattr__(self, name):
            return getattr(look.client, name)

        def log_model_artifact(self, model_id, path, artifact_path):
            sent.append(f"{artifact_path}/{Path(path).name}")
            if len(sent) == 3:
                raise ConnectionError("gone")
            look.client.log_model_artifact(model_id, path, artifact_path=artifact_path)

    with pytest.raises(ConnectionError):
        deliver_model(Cut(), experiment, run.run_id, event)
    deliver_model(Cut(), experiment, run.run_id, event)
    assert sent == ["model/a.safetensors", "model/config.json", "model/more/b.safetensors", "model/more/b.safetensors"]
    (model,) = look.client.search_logged_models([experiment], filter_string=f"source_run_id = '{run.run_id}'")
    assert str(model.status) == "READY"
