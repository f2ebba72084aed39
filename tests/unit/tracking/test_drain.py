"""What waits, what is refused and what goes first when MLflow takes some records and not others."""

import json
import threading
import time
from pathlib import Path

import pytest
import requests
from botocore.exceptions import ClientError
from mlflow.exceptions import MlflowException

from deemo_dist.tracking import sender as sending
from deemo_dist.tracking.delivery import RefusedError, is_rejected
from deemo_dist.tracking.drain import Drain
from deemo_dist.tracking.segment import new_segments
from deemo_dist.tracking.sender import Sender
from deemo_dist.tracking.spool import pending
from tests.unit.tracking.conftest import Fake


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def segments(spool):
    return new_segments(spool, {"key": "k"})


def _artifact(segment, spool, name) -> None:
    copy = spool / "files" / name / "report.html"
    copy.parent.mkdir(parents=True)
    copy.write_text(name)
    path = str(copy.relative_to(spool))
    segment.append({"kind": "artifact", "name": name, "run": "parent", "time": 1, "path": path, "copied": True})
    segment.sync()


def _answer(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status} of the store", response=response)


@pytest.mark.parametrize("error", [ConnectionError("timed out"), _answer(503), _answer(429), _answer(408)])
def test_an_outage_of_the_artifact_store_costs_no_file(segments, spool, error) -> None:
    _artifact(segments[1], spool, "one")
    _artifact(segments[1], spool, "two")
    delivery = Fake(spool)
    delivery.wrong = {"one": error, "two": error}
    drain = Drain(spool, delivery)
    for _ in range(20):
        assert drain.round().refused == 0
    assert pending(spool) == 2 and not (spool / "refused.jsonl").exists()
    delivery.wrong = {}
    assert drain.round().sent == 2
    assert delivery.taken == ["one", "two"] and pending(spool) == 0
    assert not list((spool / "files").iterdir())


def test_what_is_not_taken_lets_the_next_one_go_first_and_is_not_forgotten(segments, spool) -> None:
    for name in ("one", "two"):
        _artifact(segments[1], spool, name)
    delivery = Fake(spool)
    delivery.wrong = {"one": _answer(500)}
    drain = Drain(spool, delivery)
    for _ in range(7):
        drain.round()
    assert delivery.taken == ["two"] and pending(spool) == 1
    assert (spool / "files" / "one" / "report.html").is_file()
    _artifact(segments[1], spool, "three")
    later = Fake(spool)
    later.wrong = {"one": _answer(500)}
    again = Drain(spool, later)  # another process
    for _ in range(7):
        again.round()
    assert later.taken == ["three"] and pending(spool) == 1
    later.wrong = {}
    assert again.round().error is None
    assert later.taken == ["three", "one"] and pending(spool) == 0


def test_a_metric_that_is_not_taken_holds_back_no_other(segments, spool) -> None:
    for number in range(4):
        segments[0].append({"kind": "metrics", "name": f"m{number}", "run": "parent", "time": 1, "values": {}})
    segments[0].append({"kind": "params", "run": "parent", "time": 1})
    segments[0].sync()
    delivery = Fake(spool)
    delivery.wrong = {"m1": _answer(500)}
    drain = Drain(spool, delivery)
    for _ in range(8):
        drain.round()
    assert set(delivery.taken) == {"m0", "m2", "m3", "params"} and pending(spool) == 1


def test_a_status_lets_nothing_go_first(segments, spool) -> None:
    for kind in ("status", "run"):
        segments[0].append({"kind": kind, "run": "parent", "time": 1})
    segments[0].sync()
    delivery = Fake(spool)
    delivery.wrong = {"status": _answer(500)}
    drain = Drain(spool, delivery)
    for _ in range(8):
        drain.round()
    assert delivery.taken == [] and pending(spool) == 2


def test_what_is_refused_keeps_its_file_and_is_tried_again_when_asked_for(segments, spool) -> None:
    _artifact(segments[1], spool, "one")
    delivery = Fake(spool)
    delivery.wrong = {"one": _answer(403)}
    drain = Drain(spool, delivery)
    refused = [drain.round().refused for _ in range(7)]
    assert refused == [0, 0, 0, 0, 0, 1, 0] and pending(spool) == 0
    (row,) = [json.loads(line) for line in (spool / "refused.jsonl").read_text().splitlines()]
    assert "403" in row["reason"] and (spool / "files" / "one" / "report.html").read_text() == "one"
    assert drain.again() == 0
    delivery.wrong = {}
    assert drain.again() == 1 and delivery.taken == ["one"]
    assert (spool / "refused.jsonl").read_text() == "" and not list((spool / "files").iterdir())


def test_a_status_that_was_refused_comes_too_late_to_overrule(segments, spool) -> None:
    segments[0].append({"kind": "status", "run": "parent", "time": 1, "status": "FAILED"})
    segments[0].sync()
    delivery = Fake(spool)
    delivery.wrong = {"status": RefusedError("no")}
    drain = Drain(spool, delivery)
    assert drain.round().refused == 1
    assert drain.again() == 1 and delivery.taken == ["lost"]


@pytest.mark.parametrize(
    ("error", "rejected"),
    [
        (_answer(400), True),
        (_answer(429), False),
        (_answer(502), False),
        (MlflowException("x"), False),
        (MlflowException("x", error_code=1000), True),
        (ClientError({"ResponseMetadata": {"HTTPStatusCode": 403}, "Error": {}}, "PutObject"), True),
        (ClientError({"ResponseMetadata": {"HTTPStatusCode": 503}, "Error": {}}, "PutObject"), False),
        (OSError("no route"), False),
    ],
)
def test_only_an_answer_that_blames_the_request_is_a_refusal(error, rejected) -> None:
    assert is_rejected(error) is rejected


class Upload(Fake):
    """A model's upload: reads a file's bytes slowly, or stands still."""

    def __init__(self, spool, *, looks: int, still: bool = False) -> None:
        super().__init__(spool)
        self.looks, self.still = looks, still

    def deliver(self, header, event) -> None:
        for _ in range(self.looks if event["kind"] == "model" else 0):
            time.sleep(0.1)
            if not self.still:
                with Path("/dev/zero").open("rb") as file:
                    file.read(2**21)
        super().deliver(header, event)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(sending, "_STILL_SECONDS", 1.0)
    monkeypatch.setattr(sending, "_LOOK_SECONDS", 0.1)


def _sent(segments, spool, upload, **rest) -> float:
    """Send a model and a status; the seconds of the close."""
    facts, files = segments
    files.append({"kind": "model", "run": "parent", "time": 1})
    files.sync()
    sender = Sender(spool, lambda: upload)
    sender.start()
    time.sleep(0.3)
    facts.append({"kind": "status", "run": "parent", "time": 1})
    facts.sync()
    started = time.monotonic()
    sender.stop(0.5, **rest)
    return time.monotonic() - started


def test_a_status_does_not_wait_for_an_upload(segments, spool, quick) -> None:
    upload = Upload(spool, looks=50)
    assert _sent(segments, spool, upload) < 3
    assert upload.taken == ["status"] and pending(spool) == 1


@pytest.mark.slow
def test_an_upload_is_waited_for_as_long_as_bytes_move(segments, spool, quick) -> None:
    upload = Upload(spool, looks=40)
    assert _sent(segments, spool, upload, uploads=lambda: True) > 3
    assert upload.taken == ["status", "model"] and pending(spool) == 0


@pytest.mark.slow
def test_an_upload_that_stands_still_or_somebody_in_a_hurry_ends_the_wait(segments, spool, quick) -> None:
    assert _sent(segments, spool, Upload(spool, looks=80, still=True), uploads=lambda: True) < 4
    hurry = threading.Event()
    threading.Timer(1.0, hurry.set).start()
    assert _sent(segments, spool, Upload(spool, looks=80), uploads=lambda: not hurry.is_set()) < 4
