"""The spool, params and secrets by themselves; `check` without a server."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.config import TrackingConfig
from deemo_dist.errors import TrackingError
from deemo_dist.tracking import check, replay
from deemo_dist.tracking.connection import client, connection
from deemo_dist.tracking.params import batches, clean_key, flat_params, shorten
from deemo_dist.tracking.reservations import reserve_in
from deemo_dist.tracking.secrets import is_secret_name, redact
from deemo_dist.tracking.segment import new_segments
from deemo_dist.tracking.spool import pending, readers


def test_a_segment_is_read_from_where_it_was_taken(tmp_path):
    facts, _ = new_segments(tmp_path, {"key": "k"})
    for number in range(5):
        facts.append({"kind": "metrics", "n": number})
    assert facts.sync()
    (reader,) = readers(tmp_path, "facts")
    assert reader.header()["key"] == "k" and pending(tmp_path) == 5
    reader.commit(reader.entries(3)[-1].end)
    (again,) = readers(tmp_path, "facts")
    assert [entry.event["n"] for entry in again.entries(10)] == [2, 3, 4] and again.pending() == 3


def test_a_torn_line_waits_and_a_damaged_one_is_shown(tmp_path):
    facts, _ = new_segments(tmp_path, {"key": "k"})
    facts.append({"kind": "metrics"})
    facts.close()
    with facts.path.open("a") as file:
        file.write('{"kind": "met\n{"kind": "torn')
    (reader,) = readers(tmp_path, "facts")
    assert [entry.event and entry.event["kind"] for entry in reader.entries(10)] == ["open", "metrics", None]


def test_a_spool_that_cannot_be_written_keeps_lines_and_never_raises(tmp_path):
    blocked = tmp_path / "spool"
    blocked.write_text("a file where the folder should be")
    facts, _ = new_segments(blocked, {"key": "k"})
    facts.append({"kind": "metrics", "n": 0})
    assert not facts.sync() and facts.waiting == 2
    blocked.unlink()
    facts.append({"kind": "metrics", "n": 1})
    facts.close()
    assert facts.waiting == 0 and pending(blocked) == 2


def test_the_first_reservation_wins(tmp_path):
    assert [reserve_in(tmp_path, "a/b", value) for value in ("1", "2")] == ["1", "1"]


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=400))
def test_every_cleaned_key_is_one_that_mlflow_takes(name):
    from mlflow.utils.validation import _validate_metric_name

    cleaned = clean_key(name)
    _validate_metric_name(cleaned, "name")
    assert clean_key(cleaned) == cleaned


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.text(max_size=30), st.text(max_size=9000), max_size=300))
def test_batches_hold_everything_within_limits(params):
    short, _ = shorten(params)
    cut = list(batches(short))
    assert {name: text for batch in cut for name, text in batch.items()} == short
    assert all(len(batch) <= 100 for batch in cut)
    assert all(len(text) <= 6000 for text in short.values())


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("aws.secret_access_key", True),
        ("db.password", True),
        ("hub.token", True),
        ("api-key", True),
        ("stages.a.max_tokens", False),
        ("model.tokenizer", False),
        ("keys.source", False),
        ("tokens", False),
    ],
)
def test_secret_names(name, secret):
    assert is_secret_name(name) is secret


def test_redaction_of_uris_keeps_the_rest():
    assert redact("at http://me:pw@host:1/x and s3://b/a:c@d") == "at http://***@host:1/x and s3://b/a:c@d"


def test_flat_params_are_plain_text():
    assert flat_params({"a": {"b": [1, 2], "c": None}, "d": True}) == {"a.b": "[1, 2]", "a.c": "null", "d": "true"}


@pytest.mark.parametrize(
    ("uri", "words"), [("ftp://x/y", "no known kind"), ("mlflow", "no known kind"), ("http://", "names no host")]
)
def test_check_names_a_uri_of_no_use(uri, words, tmp_path):
    with pytest.raises(TrackingError, match=words):
        check(TrackingConfig(uri=uri), tmp_path)


def test_check_of_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(TrackingError) as caught:
        check(TrackingConfig(), tmp_path / "taken" / "mlflow")
    assert "\n" not in str(caught.value)


def test_replay_of_no_spool_says_so(tmp_path):
    with pytest.raises(TrackingError, match="no tracking spool"):
        replay(tmp_path, TrackingConfig())


def test_the_state_is_json(tmp_path):
    facts, _ = new_segments(tmp_path, {"key": "k"})
    facts.append({"kind": "x"})
    facts.close()
    (reader,) = readers(tmp_path, "facts")
    reader.commit(10)
    assert json.loads(reader.state.read_text())["bytes"] == 10


@pytest.fixture
def slow_store():
    """The address of a server that takes a file and answers after 2.5 seconds, and what it took."""
    taken = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self):
            taken.append(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(2.5)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api/2.0/mlflow-artifacts/artifacts", taken
        server.shutdown()


@pytest.mark.slow
def test_an_upload_may_take_longer_than_a_question(slow_store, tmp_path, monkeypatch):
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

    client(connection(TrackingConfig(), tmp_path))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    (tmp_path / "model.safetensors").write_bytes(b"0" * 1000)
    address, taken = slow_store
    HttpArtifactRepository(address).log_artifact(str(tmp_path / "model.safetensors"))
    assert taken == [b"0" * 1000]  # once: nothing gave up and tried again
