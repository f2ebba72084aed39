"""Between a client and a real S3 server: refuses for load, loses answers, or cuts them short, when told to.

``with FaultProxy(server.endpoint) as proxy: proxy.misbehave("slow", seconds=2)``. Requests are passed on as they came,
the Host header included, so that their signatures hold.
"""

import contextlib
import http.client
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, Self
from urllib.parse import urlsplit

Fault = Literal["slow", "lost", "cut"]
SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
HOP_BY_HOP = {"connection", "expect", "keep-alive", "transfer-encoding"}
SECONDS = 120.0


class FaultProxy:
    """An HTTP proxy for one server. ``counts``: requests passed on, and by the fault they met.

    Faults: ``slow`` answers 503 SlowDown without asking the server; ``lost`` asks it and closes without a word (the
    client cannot know whether it was done); ``cut`` passes on half of the answer's body. A server that cannot be
    reached is the client's to bear: its connection is closed.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self.target = (str(parts.hostname), int(parts.port or 80))
        self.counts: Counter[str] = Counter()
        self._fault: Fault | None = None
        self._until = 0.0
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    @property
    def endpoint(self) -> str:
        """The proxy's URL."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_port}"

    def misbehave(self, fault: Fault, *, seconds: float) -> None:
        """Treat every request so, from now on for ``seconds``."""
        with self._lock:
            self._fault, self._until = fault, time.monotonic() + seconds

    def fault(self) -> Fault | None:
        """What becomes of a request that comes now."""
        with self._lock:
            return self._fault if time.monotonic() < self._until else None

    def count(self, what: str) -> None:
        """Count a request."""
        with self._lock:
            self.counts[what] += 1

    def __enter__(self) -> Self:
        proxy = self

        class Handler(_Handler):
            through = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is nothing to report: it was killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    through: FaultProxy

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.through.fault()
        self.through.count(fault or "passed")
        if fault == "slow":
            self._answer(503, "Slow Down", [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        try:
            answer, content = self._ask(body)
        except (OSError, http.client.HTTPException):
            self._hang_up()
            return
        if fault == "lost":
            self._hang_up()
            return
        headers = [pair for pair in answer.getheaders() if pair[0].lower() not in HOP_BY_HOP]
        half = content[: len(content) // 2] if fault == "cut" and content else content
        self._answer(answer.status, answer.reason, headers, half, whole=half is content)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = pass_on  # noqa: N815

    def _ask(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """The server's answer, on a connection of its own."""
        connection = http.client.HTTPConnection(*self.through.target, timeout=SECONDS)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def _answer(
        self, status: int, reason: str, headers: list[tuple[str, str]], body: bytes, *, whole: bool = True
    ) -> None:
        with contextlib.suppress(OSError):  # the client is gone
            self.send_response_only(status, reason)
            for name, value in headers:
                self.send_header(name, value)
            if not any(name.lower() == "content-length" for name, _ in headers):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
        if not whole:
            self._hang_up()

    def _hang_up(self) -> None:
        """Close without another word."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *arguments: object) -> None:
        return
