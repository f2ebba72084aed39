"""Records of an earlier life that arrive after a later one has spoken, and models that only the store still has."""

import shutil
import time
from pathlib import Path

import pytest

from deemo_dist.config import TrackingConfig
from deemo_dist.errors import ModelError
from deemo_dist.tracking import replay
from deemo_dist.tracking.models import deliver_model
from deemo_dist.tracking.reservations import reserve_in
from deemo_dist.tracking.spool import sending

AWAY = TrackingConfig(uri="http://127.0.0.1:9")


@pytest.fixture
def shared(tmp_path):
    """What the lives of a run have in common on all nodes."""
    return {"reserve": lambda name, proposal: reserve_in(tmp_path / "ids", name, proposal)}


def test_an_earlier_life_takes_no_later_word_back(opened, look, folder, tmp_path, shared):
    first = opened("late", spool=tmp_path / "a", config=AWAY, patience=0.1, **shared)
    run = first.parent({"x": "old", "only": "a"})
    run.log_metrics({"loss": 1.0, "size": 1.0}, step=1, timestamp=1_700_000_000)
    run.log_metrics({"accuracy": 0.5}, timestamp=1_700_000_000)
    run.log_text("old", "note.txt", "folder")
    run.finish("FAILED")
    first.close(0.1)
    second = opened("late", spool=tmp_path / "b", **shared)
    run = second.parent({"x": "new"})
    run.log_metrics({"loss": 2.0}, step=2)
    run.log_metrics({"accuracy": 0.75})
    run.log_text("new", "note.txt", "folder")
    assert second.flush()
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    assert replay(tmp_path / "a", TrackingConfig(), folder=folder, **shared) == 5
    assert look.runs("late")["late"].info.status == "RUNNING"
    run.finish("FINISHED")
    assert second.close() == 0
    ended = look.runs("late")["late"].info.end_time
    assert replay(tmp_path / "copy", TrackingConfig(), folder=folder, **shared) == 5
    found = look.runs("late")["late"]
    assert (found.info.status, found.info.end_time, look.count("late")) == ("FINISHED", ended, 1)
    assert (found.data.tags["x"], found.data.tags["only"]) == ("new", "a")
    assert found.data.metrics == {"loss": 2.0, "size": 1.0, "accuracy": 0.75}
    assert look.steps(found.info.run_id, "loss") == [1, 2] and len(look.steps(found.info.run_id, "accuracy")) == 2
    text = look.client.download_artifacts(found.info.run_id, "folder/note.txt", str(tmp_path))
    assert Path(text).read_text() == "new"


def test_a_life_that_goes_on_beside_a_later_one_is_heard(opened, look, tmp_path, shared):
    training = opened("beside", spool=tmp_path / "a", **shared)
    run = training.parent({"step": "1"})
    time.sleep(0.01)
    with opened("beside", spool=tmp_path / "b", **shared) as evaluation:
        evaluation.parent({"step": "2"})
    assert look.runs("beside")["beside"].info.status == "FINISHED"
    time.sleep(0.01)
    run.set_tags({"step": "3"})
    run.finish("FAILED")
    assert training.close() == 0
    found = look.runs("beside")["beside"]
    assert found.info.status == "FAILED" and found.data.tags["step"] == "3"


def test_what_was_held_up_ends_no_later_life_of_another_node(opened, look, tmp_path, shared):
    first = opened("held", spool=tmp_path / "a", **shared)
    run = first.parent()
    with sending(tmp_path / "a", "facts") as mine:  # the first node's sender knows the run, and does not come to it
        assert mine
        run.finish("FAILED")
        second = opened("held", spool=tmp_path / "b", **shared)
        second.parent()
    assert first.close() == 0
    assert look.runs("held")["held"].info.status == "RUNNING"
    second.close()


def test_a_launcher_that_is_heard_late_ends_no_later_life(opened, look, folder, tmp_path, shared):
    opened("relaunched", spool=tmp_path / "a", **shared).parent()
    launcher = opened("relaunched", spool=tmp_path / "launcher", config=AWAY, **shared)
    launcher.lost(())
    launcher.close(0.1)
    second = opened("relaunched", spool=tmp_path / "b", **shared)
    second.parent()
    assert replay(tmp_path / "launcher", TrackingConfig(), folder=folder, **shared) == 1
    assert look.runs("relaunched")["relaunched"].info.status == "RUNNING"
    later = opened("relaunched", spool=tmp_path / "launcher", **shared)
    later.lost(())
    assert later.close() == 0
    assert look.runs("relaunched")["relaunched"].info.status == "FAILED"
    second.close()


@pytest.fixture
def exported(tmp_path):
    model = tmp_path / "models" / "nano"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "a.safetensors").write_text("weights")
    return model


def test_the_alias_does_not_go_back_to_a_model_that_came_late(opened, look, tmp_path, exported):
    with opened("aliases") as tracker:
        run = tracker.parent()
    experiment = look.runs("aliases")["aliases"].info.experiment_id
    event = {"name": "nano", "register_as": "late-nano", "alias": "current", "time": 2000}
    newer = shutil.copytree(exported, tmp_path / "newer")
    (newer / "a.safetensors").write_text("other weights")
    deliver_model(look.client, experiment, run.run_id, {**event, "directory": str(newer)})
    deliver_model(look.client, experiment, run.run_id, {**event, "directory": str(exported), "time": 1000})
    assert look.client.get_model_version_by_alias("late-nano", "current").version == 1
    deliver_model(look.client, experiment, run.run_id, {**event, "directory": str(exported), "time": 3000})
    assert look.client.get_model_version_by_alias("late-nano", "current").version == 2
    deliver_model(look.client, experiment, run.run_id, {**event, "directory": str(newer)})
    assert look.client.get_model_version_by_alias("late-nano", "current").version == 2
    assert len(look.client.search_model_versions("name = 'late-nano'")) == 2


def test_a_model_of_a_lost_node_comes_from_the_store(opened, look, folder, tmp_path, exported):
    asked: list[str] = []

    def fetch(place, into):
        asked.append(place)
        return shutil.copytree(tmp_path / "stored", into / "model")

    shutil.copytree(exported, tmp_path / "stored")
    tracker = opened("fetched", config=AWAY, patience=0.1)
    tracker.parent().log_model(exported, "nano", register_as="fetched-nano", stored="models/fetched/1")
    tracker.close(0.1)
    (exported / "a.safetensors").unlink()  # half a folder is none
    assert replay(tmp_path / "spool", TrackingConfig(), folder=folder, fetch=fetch) == 2
    assert asked == ["models/fetched/1"] and not list((tmp_path / "spool" / "models").iterdir())
    (model,) = look.client.search_logged_models(["1"], filter_string="name = 'nano'", max_results=1)
    version = look.client.get_model_version_by_alias("fetched-nano", "current")
    assert str(model.status) == "READY" and version.run_id == look.runs("fetched")["fetched"].info.run_id


@pytest.mark.parametrize("known", [True, False])
def test_a_model_that_is_nowhere_is_refused_with_its_reason(opened, folder, tmp_path, exported, known):
    def fetch(place, into):
        raise ModelError(f"there is no model at {place}")

    tracker = opened(f"gone-{known}", config=AWAY, patience=0.1)
    tracker.parent().log_model(exported, "nano", stored="models/gone/1")
    tracker.close(0.1)
    shutil.rmtree(exported)
    place = {"folder": folder, "fetch": fetch if known else None}
    assert replay(tmp_path / "spool", TrackingConfig(), **place) == 1
    refused = (tmp_path / "spool" / "refused.jsonl").read_text()
    assert "the exported model 'nano' is gone" in refused and ("no model at models/gone/1" in refused) is known


def test_a_figure_that_came_back_to_what_it_was_while_the_server_was_away_ends_there(
    opened, look, folder, tmp_path, shared
):
    with opened("back", spool=tmp_path / "a", **shared) as tracker:
        tracker.parent().log_metrics({"accuracy": 0.5})
    away = opened("back", spool=tmp_path / "b", config=AWAY, patience=0.1, **shared)
    run = away.parent()
    for value in (0.75, 0.5):
        time.sleep(0.002)
        run.log_metrics({"accuracy": value})
    for value in (2.0, 3.0):
        run.log_metrics({"loss": value}, step=1)
    away.close(0.1)
    assert replay(tmp_path / "b", TrackingConfig(), folder=folder, **shared) == 5
    found = look.runs("back")["back"]
    assert found.data.metrics["accuracy"] == 0.5 and len(look.steps(found.info.run_id, "accuracy")) == 3
    assert look.steps(found.info.run_id, "loss") == [1]
