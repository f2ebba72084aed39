"""A real MLflow server on this machine: ``python -m cluster.local.mlflow [--folder DIR] [--port N]``.

SQLite and proxied artifacts in one folder, so that a server started again on it continues. Stopped by process id.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

_START_SECONDS = 180.0


def free_port() -> int:
    """A TCP port that is free on loopback now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LocalMlflow:
    """An MLflow server as a context manager. ``uri`` stays the same over ``kill`` and ``start``.

    ``folder`` keeps ``mlflow.db``, ``artifacts/`` and ``server.log`` (a temporary one when None, removed at the end);
    ``port`` None takes a free one.
    """

    def __init__(self, folder: Path | None = None, *, port: int | None = None) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="deemo-mlflow-") if folder is None else None
        self.folder = Path(self._temporary.name) if self._temporary else Path(folder or ".").absolute()
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """The tracking URI."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start the server and wait until it answers. Raises ``RuntimeError`` with its log's end when it does not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._answers():
            raise RuntimeError(f"port {self.port} is taken - choose another one")
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env=self._environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                log_end = (self.folder / "server.log").read_text(errors="replace")[-1000:]
                raise RuntimeError(f"MLflow did not start on port {self.port}:\n{log_end}")
            time.sleep(0.2)
        return self

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"),
            *("--artifacts-destination", (self.folder / "artifacts").as_uri()),
        ]

    @staticmethod
    def _environment() -> dict[str, str]:
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        return {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | quiet

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:  # noqa: S310 - loopback, http
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        """End the server in good order; killed when it does not within ten seconds."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server at once, as a crash would (SIGKILL to its process group)."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, how)
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        except ProcessLookupError:
            self.process.wait()
        self.process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._temporary:
            self._temporary.cleanup()


def main() -> None:
    """Run a server until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Start an MLflow server on loopback, until Ctrl-C.")
    parser.add_argument("--folder", type=Path, default=Path("build/mlflow"))
    parser.add_argument("--port", type=int, default=None)
    arguments = parser.parse_args()
    with LocalMlflow(arguments.folder, port=arguments.port) as server:
        print(f"MLflow at {server.uri}, files in {server.folder}. Ctrl-C ends it.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("stopped", flush=True)


if __name__ == "__main__":
    main()
