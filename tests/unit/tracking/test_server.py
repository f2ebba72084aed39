"""The tracker against a real MLflow server that dies and comes back."""

import shutil
import time
from pathlib import Path

import pytest

from cluster.local.mlflow import LocalMlflow, free_port
from deemo_dist.config import TrackingConfig
from deemo_dist.errors import TrackingError
from deemo_dist.storage.local import LocalStore
from deemo_dist.tracking import Depot, Tracker, check, download_model, pending, replay
from deemo_dist.tracking.reservations import reserve_in
from tests.unit.tracking.conftest import Looker

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with LocalMlflow(tmp_path_factory.mktemp("server")) as running:
        yield running


def _open(server, tmp_path, name, **rest) -> Tracker:
    config = TrackingConfig(uri=server.uri, experiment="served")
    return Tracker.open(config, spool_dir=tmp_path / "spool", folder=tmp_path, run_name=name, **rest)


def test_a_server_killed_in_the_middle_loses_and_doubles_nothing(server, tmp_path):
    tracker = _open(server, tmp_path, "killed")
    stage = tracker.stage("tune")
    slowest = 0.0
    report = tmp_path / "report.html"
    for step in range(300):
        if step == 100:
            server.kill()
        if step == 150:
            report.write_text("during the outage")
            stage.log_artifact(report)
            report.unlink()
        if step == 200:
            server.start()
        started = time.perf_counter()
        stage.log_metrics({"loss": 1 / (step + 1), "lr": 1e-3}, step=step, timestamp=1_700_000_000 + step)
        slowest = max(slowest, time.perf_counter() - started)
        time.sleep(0.005)
    stage.finish("FINISHED")
    assert tracker.flush(120) or tracker.flush(120)
    assert tracker.close(60) == 0
    look = Looker(server.uri)
    runs = look.runs("killed")
    history = look.client.get_metric_history(runs["tune"].info.run_id, "loss")
    assert sorted((m.step, m.timestamp) for m in history) == [(s, (1_700_000_000 + s) * 1000) for s in range(300)]
    assert look.count("killed") == 2 and runs["tune"].info.status == "FINISHED"
    assert look.artifacts(runs["tune"].info.run_id) == ["report.html"]
    assert slowest < 0.25  # the median is measured in the fast tests; this one: no call waits for a server


def test_a_run_without_any_server_is_replayed_whole(server, tmp_path):
    server.kill()
    try:
        started = time.monotonic()
        with _open(server, tmp_path, "later", patience=5.0) as tracker:
            stage = tracker.stage("tune")
            for step in range(50):
                stage.log_metrics({"loss": 1.0 / (step + 1)}, step=step)
            assert tracker.run_ids() == {} and stage.run_id is None
        assert time.monotonic() - started < 30
        config = TrackingConfig(uri=server.uri, experiment="served")
        waiting = pending(tmp_path / "spool")
        assert waiting >= 52
        with pytest.raises(TrackingError, match="no MLflow server answers"):
            replay(tmp_path / "spool", config)
    finally:
        server.start()
    shutil.copytree(tmp_path / "spool", tmp_path / "kept")
    assert replay(tmp_path / "spool", config) == waiting
    assert replay(tmp_path / "spool", config) == 0
    assert not list((tmp_path / "spool").glob("*.jsonl")) and not list((tmp_path / "spool").glob("*.sent"))
    for state in (tmp_path / "kept").glob("*.sent"):  # even by somebody who has another spool with the same, unsent
        state.unlink()
    assert replay(tmp_path / "kept", config) == waiting
    look = Looker(server.uri)
    assert look.count("later") == 2
    assert look.steps(look.runs("later")["tune"].info.run_id, "loss") == list(range(50))
    assert look.runs("later")["tune"].info.status == "FINISHED"


def test_a_job_that_went_to_another_node_is_whole_and_the_first_node_adds_nothing(server, tmp_path):
    store = LocalStore(f"file://{tmp_path}/store")
    shared = {"depot": Depot(store, "runs/moved/spool"), "reserve": lambda n, p: reserve_in(tmp_path / "ids", n, p)}
    config = TrackingConfig(uri=server.uri, experiment="served")
    server.kill()
    try:
        tracker = Tracker.open(
            config, spool_dir=tmp_path / "a", folder=tmp_path, run_name="moved", patience=1.0, **shared
        )
        stage = tracker.stage("tune", {"node": "a", "first": "a"})
        for step in range(50):
            stage.log_metrics({"loss": 1.0 / (step + 1)}, step=step, timestamp=1_700_000_000 + step)
        stage.log_text("of a", "note.txt")
        stage.log_text("only a's", "a.txt")
        stage.finish("KILLED")
        waiting = tracker.close(2.0)
        assert waiting == 54 and len(store.list("runs/moved/spool")) == 4
    finally:
        server.start()
    second = Tracker.open(config, spool_dir=tmp_path / "b", folder=tmp_path, run_name="moved", **shared)
    stage = second.stage("tune", {"node": "b"})
    for step in range(40, 80):  # the checkpoint was at 40
        stage.log_metrics({"loss": 1.0 / (step + 1)}, step=step, timestamp=1_700_001_000 + step)
    stage.log_text("of b", "note.txt")
    stage.finish("FINISHED")
    assert second.close(60) == 0
    look = Looker(server.uri)
    assert store.list("runs") == [] and not list((tmp_path / "b").glob("*.jsonl"))
    before = _all_of(look, "moved")
    assert before["metrics"] == [(s, (1_700_000_000 + s + (1000 if s >= 50 else 0)) * 1000) for s in range(80)]
    assert (before["status"], before["node"], before["first"]) == ("FINISHED", "b", "a")
    assert before["artifacts"] == {"note.txt": "of b", "a.txt": "only a's"}
    assert replay(tmp_path / "a", config, **shared) == waiting  # the first node has it too, and has sent nothing
    assert _all_of(look, "moved") == before
    assert replay(tmp_path / "c", config, **shared) == 0 and not list((tmp_path / "a").glob("*.jsonl"))


def _all_of(look, name) -> dict:
    """What MLflow has of the stage of a run that can be counted."""
    run = look.runs(name)["tune"]
    history = look.client.get_metric_history(run.info.run_id, "loss")
    texts = {path: look.client.download_artifacts(run.info.run_id, path) for path in look.artifacts(run.info.run_id)}
    return {
        "runs": look.count(name),
        "status": run.info.status,
        "end": run.info.end_time,
        "node": run.data.tags["node"],
        "first": run.data.tags["first"],
        "metrics": sorted((metric.step, metric.timestamp) for metric in history),
        "artifacts": {path: Path(local).read_text() for path, local in texts.items()},
    }


def test_a_model_is_registered_and_loads_again(server, tmp_path):
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    settings = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=32, **settings))
    model.save_pretrained(tmp_path / "export")
    for _ in range(2):  # a second attempt makes no second version
        with _open(server, tmp_path, "model") as tracker:
            tracker.parent().log_model(tmp_path / "export", "nano", register_as="deemo-nano")
    assert len(Looker(server.uri).client.search_model_versions("name = 'deemo-nano'")) == 1
    config = TrackingConfig(uri=server.uri, experiment="served")
    found = download_model(config, tmp_path, "deemo-nano", tmp_path / "fetched")
    again = AutoModelForCausalLM.from_pretrained(found)
    assert (again.lm_head.weight == model.lm_head.weight).all()
    with pytest.raises(TrackingError, match="nothing@current"):
        download_model(config, tmp_path, "nothing", tmp_path / "fetched2")


def test_a_deleted_run_is_made_again(server, tmp_path):
    tracker = _open(server, tmp_path, "deleted")
    run = tracker.parent()
    run.log_metrics({"loss": 1.0}, step=1)
    assert tracker.flush()
    look = Looker(server.uri)
    look.client.delete_run(run.run_id)
    run.log_metrics({"loss": 2.0}, step=2)
    tracker.close()
    assert pending(tmp_path / "spool") == 0 and not (tmp_path / "spool" / "refused.jsonl").exists()
    assert look.steps(look.runs("deleted")["deleted"].info.run_id, "loss") == [2]


def test_check_accepts_the_server_and_names_what_is_wrong(server, tmp_path):
    check(TrackingConfig(uri=server.uri), tmp_path)
    with pytest.raises(RuntimeError, match="is taken"):
        LocalMlflow(tmp_path, port=server.port).start()


def test_check_refuses_a_server_that_is_none(tmp_path):
    for uri in (f"http://127.0.0.1:{free_port()}", "http://no.such.host.invalid:5000"):
        with pytest.raises(TrackingError) as caught:
            check(TrackingConfig(uri=uri), tmp_path)
        assert uri in str(caught.value) and "\n" not in str(caught.value)
