"""A real S3 server for this folder's slow tests, and small servers that misbehave for the fast ones."""

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cluster.local.s3 import LocalS3
from deemo_dist.config import StorageConfig
from deemo_dist.storage import Store, open_store


@pytest.fixture(scope="session")
def s3_server() -> Iterator[LocalS3]:
    with LocalS3() as server:
        yield server


@pytest.fixture
def s3_config(s3_server: LocalS3, monkeypatch: pytest.MonkeyPatch) -> StorageConfig:
    """A fresh prefix on the server, with its credentials in the environment."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return StorageConfig(root=f"{s3_server.root}/{uuid.uuid4().hex}", timeout_seconds=10.0)


@pytest.fixture
def s3_store(s3_config: StorageConfig) -> Store:
    return open_store(s3_config)


Answer = Callable[[BaseHTTPRequestHandler, int], None]


@dataclass
class FaultyServer:
    """Answers every request by ``answer(handler, number)``; ``requests`` holds (method, path, headers)."""

    answer: Answer
    endpoint: str = ""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], FaultyServer]]:
    """Start servers that answer as a test wants; credentials are set to anything."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-value")
    running: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> FaultyServer:
        state = FaultyServer(answer)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.body = body
                state.requests.append((self.command, self.path, dict(self.headers)))
                state.answer(self, len(state.requests))

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        running.append(server)
        state.endpoint = f"http://127.0.0.1:{server.server_port}"
        return state

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", *, length: int | None = None) -> None:
    """Answer with ``body`` while announcing ``length`` bytes, then close."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.send_header("Connection", "close")
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)
    handler.close_connection = True


def refuse(handler: BaseHTTPRequestHandler, status: int, code: str) -> None:
    """Answer with an S3 error document."""
    reply(handler, status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode())


@pytest.fixture
def http() -> object:
    """The two ways to answer, for tests (conftest cannot be imported by name)."""

    class Ways:
        reply = staticmethod(reply)
        refuse = staticmethod(refuse)

    return Ways
