"""Sources that do not give what they have: told as what they are, and passed over where another has the file."""

import socket
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deemo_dist.weights import mirror
from deemo_dist.weights.registry import Weight, find
from deemo_dist.weights.sources import UnreadableError, from_uri

DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class Faulty(BaseHTTPRequestHandler):
    """Resets the connection within ``/reset``; of a bucket it gives what ends in its file name and denies the rest."""

    def do_GET(self) -> None:
        if self.path == "/reset":
            self._answer(200, b"begun", length=4 << 20)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif self.path.endswith(".onnx") and self.path.count("/") == 3:
            self._answer(200, b"weights")
        else:
            self._answer(403, DENIED)

    def _answer(self, code: int, body: bytes, length: int | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Quietly."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Faulty) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def weight() -> Weight:
    return find("centerface")


def test_a_connection_that_breaks_is_the_sources(server: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match=r"cannot read http://.*/reset: .*reset") as error:
        from_uri(f"{server}/reset", tmp_path / "out")
    assert not error.value.absent


def test_a_disk_that_does_not_take_it_is_not_the_sources(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"weights")
    with pytest.raises(NotADirectoryError):
        from_uri(str(tmp_path / "in"), tmp_path / "in" / "out")


def test_a_name_that_cannot_be_read_does_not_hide_the_next(
    weight: Weight, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = tmp_path / "held"
    (held / weight.name).mkdir(parents=True)
    (held / weight.sha256).symlink_to(weight.sha256)  # leads to itself
    (held / weight.name / weight.filename).write_bytes(b"weights")
    found = mirror.fetch(str(held), weight, tmp_path)
    assert found is not None and found.read_bytes() == b"weights"
    assert "symbolic links" in caplog.text


def test_a_bucket_that_denies_one_name_is_asked_for_the_next(
    server: str, weight: Weight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a bucket does, of what is not there, to who may not list it."""
    for name, value in (("ENDPOINT_URL", server), ("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    found = mirror.fetch("s3://bucket/weights", weight, tmp_path)
    assert found is not None and found.read_bytes() == b"weights"
    assert "AccessDenied" in caplog.text
