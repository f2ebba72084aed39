"""Faults of a server, made by a small one that misbehaves on purpose: what is retried, and what is said."""

import socket
import struct
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from deemo_dist.config import StorageConfig
from deemo_dist.errors import AlreadyExistsError, ConfigError, DeemoError, NotFoundError, StorageError
from deemo_dist.storage import Store, fetch_uri, open_store, read_uri
from deemo_dist.storage.s3 import S3Store

Start = Callable[[Callable[[Any, int], None]], Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deemo_dist.storage.retry.BASE_SECONDS", 0.01)


def opened(server: Any, **changes: Any) -> Store:
    fields = {"root": "s3://bucket/p", "endpoint": server.endpoint, "retries": 3, "timeout_seconds": 2.0, **changes}
    return open_store(StorageConfig(**fields))


def test_slow_down_is_retried_and_halves_the_budget(faulty: Start, http: Any) -> None:
    def answer(handler: Any, number: int) -> None:
        if number <= 2:
            http.refuse(handler, 503, "SlowDown")
        else:
            http.reply(handler, 200, b"data")

    server = faulty(answer)
    store = opened(server, requests_per_second=1000.0)
    assert isinstance(store, S3Store) and store.get("k") == b"data"
    assert len(server.requests) == 3
    assert 500 <= store.budget.rate < 600


def test_a_truncated_body_is_read_again(faulty: Start, http: Any) -> None:
    def answer(handler: Any, number: int) -> None:
        http.reply(handler, 200, b"da" if number == 1 else b"data", length=4)

    server = faulty(answer)
    assert opened(server).get("k") == b"data"
    assert len(server.requests) == 2


def test_a_truncated_body_never_becomes_a_file(faulty: Start, http: Any, tmp_path: Any) -> None:
    server = faulty(lambda handler, number: http.reply(handler, 200, b"da", length=4))
    store = opened(server)
    for call in (
        lambda: store.download("k", tmp_path / "k"),
        lambda: store.get("k"),
        lambda: store.get_range("k", 0, 4),
    ):
        with pytest.raises(StorageError, match="failed 4 times: truncated body"):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["pauses", "breaks off"])
def test_a_body_that_stalls_or_breaks_off_is_fetched_again(faulty: Start, http: Any, tmp_path: Any, how: str) -> None:
    free = threading.Event()

    def answer(handler: Any, number: int) -> None:
        if number == 1:
            http.reply(handler, 200, b"x" * 1_000_000, length=2_000_000)
            handler.wfile.flush()
            free.wait(20 if how == "pauses" else 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            handler.connection.close()
        else:
            http.reply(handler, 200, b"x" * 2_000_000)

    server = faulty(answer)
    try:
        opened(server, timeout_seconds=0.3).download("k", tmp_path / "k")
    finally:
        free.set()
    assert (tmp_path / "k").stat().st_size == 2_000_000 and len(server.requests) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


def test_a_body_that_always_stalls_is_the_servers_fault(faulty: Start, http: Any, tmp_path: Any) -> None:
    free = threading.Event()

    def answer(handler: Any, number: int) -> None:
        http.reply(handler, 200, b"x", length=2)
        handler.wfile.flush()
        free.wait(20)

    server = faulty(answer)
    config = StorageConfig(endpoint=server.endpoint, retries=1, timeout_seconds=0.3)
    try:
        with pytest.raises(StorageError, match=r"clip 1: s3://raw at .* failed 2 times: time-out"):
            fetch_uri("s3://raw/x.mp4", config, tmp_path / "k", label="clip 1")
    finally:
        free.set()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_no_fault_of_the_server(faulty: Start, http: Any, tmp_path: Any) -> None:
    server = faulty(lambda handler, number: http.reply(handler, 200, b"data"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write k in the local folder"):
        opened(server).download("k", tmp_path / "file" / "k")
    assert len(server.requests) == 1


def test_a_reset_is_retried(faulty: Start, http: Any) -> None:
    def answer(handler: Any, number: int) -> None:
        if number == 1:
            handler.connection.close()
            handler.close_connection = True
        else:
            http.reply(handler, 200, b"data")

    assert opened(faulty(answer)).get("k") == b"data"


def test_a_silent_server_ends_in_a_time_out(faulty: Start) -> None:
    free = threading.Event()
    server = faulty(lambda handler, number: (free.wait(20), None)[1])
    started = time.monotonic()
    try:
        with pytest.raises(StorageError, match="failed 2 times: time-out"):
            opened(server, retries=1, timeout_seconds=0.3).get("k")
    finally:
        free.set()
    assert time.monotonic() - started < 5


def test_a_lost_answer_does_not_lose_the_claim(faulty: Start, http: Any) -> None:
    """The first PUT is stored but its answer lost; the retry meets 412 and finds its own mark."""
    stored: dict[str, str] = {}

    def answer(handler: Any, number: int) -> None:
        if handler.command == "PUT" and not stored:
            stored["mark"] = handler.headers["x-amz-meta-deemo-writer"]
            handler.connection.close()
            handler.close_connection = True
        elif handler.command == "PUT":
            http.refuse(handler, 412, "PreconditionFailed")
        else:
            handler.send_response(200)
            handler.send_header("x-amz-meta-deemo-writer", stored["mark"])
            handler.send_header("Content-Length", "0")
            handler.end_headers()

    server = faulty(answer)
    opened(server).put_new("k", b"data")
    assert [request[0] for request in server.requests] == ["PUT", "PUT", "HEAD"]
    assert server.requests[0][2]["If-None-Match"] == "*"
    with pytest.raises(AlreadyExistsError):
        opened(server).put_new("k", b"data")


@pytest.mark.parametrize("bucket", [True, False])
def test_a_file_is_missing_only_from_a_bucket_that_is_there(
    faulty: Start, http: Any, tmp_path: Any, bucket: bool
) -> None:
    """What is no S3 server, or another one, answers 404 to whatever is asked."""

    def answer(handler: Any, number: int) -> None:
        if handler.command == "GET":
            http.reply(handler, 404)
        else:
            http.reply(handler, 200 if bucket else 404)

    config = StorageConfig(endpoint=faulty(answer).endpoint)
    words = "clip 1 is not in s3://raw" if bucket else "there is no bucket raw at http"
    with pytest.raises(StorageError, match=words) as caught:
        fetch_uri("s3://raw/x.mp4", config, tmp_path / "k", label="clip 1")
    assert isinstance(caught.value, NotFoundError) == bucket


def test_what_cannot_pass_is_not_retried(faulty: Start, http: Any) -> None:
    cases: list[tuple[int, str, type[DeemoError], str]] = [
        (403, "SignatureDoesNotMatch", StorageError, "refused the credentials.*AWS_SECRET_ACCESS_KEY"),
        (403, "AccessDenied", StorageError, "rights"),
        (404, "NoSuchBucket", StorageError, "no bucket bucket at http"),
        (404, "NoSuchKey", NotFoundError, "k is not in s3://bucket"),
        (400, "EntityTooLarge", StorageError, "EntityTooLarge"),
    ]
    for status, code, kind, words in cases:
        server = faulty(lambda handler, number, status=status, code=code: http.refuse(handler, status, code))
        with pytest.raises(kind, match=words) as caught:
            opened(server).get("k")
        assert len(server.requests) == 1
        assert "\n" not in str(caught.value) and "very-secret-value" not in str(caught.value)


@pytest.mark.parametrize(("code", "hours"), [("RequestTimeTooSkewed", -2), ("AccessDenied", 3)])
def test_a_wrong_clock_is_said_to_be_one(faulty: Start, http: Any, code: str, hours: int) -> None:
    """By the code, and by the date of an answer without one (HEAD has no body)."""

    def answer(handler: Any, number: int) -> None:
        handler.date_time_string = lambda: formatdate(time.time() - hours * 3600, usegmt=True)
        http.refuse(handler, 403, code)

    server = faulty(answer)
    how = rf"\d{{4,5}} s {'ahead of' if hours > 0 else 'behind'} the server's .*set this machine's"
    for call in (opened(server).get, opened(server).stat):
        with pytest.raises(StorageError, match=how) as caught:
            call("k")
        assert "credentials" not in str(caught.value)
    assert len(server.requests) == 2


def test_the_number_of_tries_is_bounded(faulty: Start, http: Any) -> None:
    server = faulty(lambda handler, number: http.refuse(handler, 500, "InternalError"))
    with pytest.raises(StorageError, match="failed 4 times: InternalError"):
        opened(server).put("k", b"x")
    assert len(server.requests) == 4


def test_an_endpoint_that_is_not_there(faulty: Start) -> None:
    class Nowhere:
        endpoint = "http://127.0.0.1:1"

    with pytest.raises(StorageError, match=r"127\.0\.0\.1:1 failed 3 times: no connection - check storage.endpoint"):
        opened(Nowhere, retries=2).get("k")


def test_no_credentials(faulty: Start, http: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    server = faulty(lambda handler, number: http.reply(handler, 200))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match=r"no credentials.*set AWS_ACCESS_KEY_ID"):
        opened(server).get("k")
    assert server.requests == []


def test_bad_endpoints_and_bucket_names_are_config_errors() -> None:
    for endpoint in ("localhost:9000", "http://user:pass@host", "http://"):
        with pytest.raises(ConfigError) as caught:
            open_store(StorageConfig(root="s3://bucket", endpoint=endpoint)).get("k")
        assert "pass@" not in str(caught.value)
    with pytest.raises(ConfigError):
        open_store(StorageConfig(root="s3://no bucket!", endpoint="http://127.0.0.1:1")).get("k")


@pytest.mark.parametrize("change", [{"requests_per_second": 0.0}, {"retries": -1}, {"timeout_seconds": 0.0}])
def test_limits_that_make_no_sense_are_config_errors(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        open_store(StorageConfig(root="s3://bucket", **change))


def test_errors_about_a_raw_uri_do_not_quote_it(faulty: Start, http: Any) -> None:
    server = faulty(lambda handler, number: http.refuse(handler, 404, "NoSuchKey"))
    config = StorageConfig(endpoint=server.endpoint)
    with pytest.raises(NotFoundError) as caught:
        read_uri("s3://raw/serena williams #1.mp4", config)
    assert "serena" not in str(caught.value)
    assert server.requests[0][1] == "/raw/serena%20williams%20%231.mp4"
