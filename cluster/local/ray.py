"""A real Ray with two nodes on this machine (127.0.0.2 and 127.0.0.3) and a job server, for tests and for trying out.

``with LocalRay() as ray: submit("ray", "train", "demo", address=ray.job_address)``. Never ``ray stop``: it would end
every Ray on the machine; this one is ended by its own process ids.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from cluster.local import processes

HEAD, WORKER = "127.0.0.2", "127.0.0.3"
_QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_JOB_STOP_WAIT_TIME_S": "30"}
_START_SECONDS = 90.0


class LocalRay:
    """A head and a worker node, each with ``cpus``; ended by their process ids.

    ``address``: of the cluster, for ``ray.init``. ``job_address``: of its job server. ``env``: what a process that
    talks to it needs. Job output and state are in ``folder``.
    """

    def __init__(self, *, cpus: int = 1, store_mb: int = 80, env: Mapping[str, str] | None = None) -> None:
        # a short path: Ray's sockets lie below it, and a socket's path has 107 characters at most
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self.cpus, self.store_mb = cpus, store_mb
        self.env = {**_QUIET, **(env or {})}
        self.address = self.job_address = ""
        self._nodes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        """Start both nodes. Raises ``LaunchError`` when one does not come up."""
        try:
            port, dashboard, client = processes.free_ports(3, HEAD)
            self.address, self.job_address = f"{HEAD}:{port}", f"http://{HEAD}:{dashboard}"
            head = (f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}")
            self._node(HEAD, "--head", "--include-dashboard=true", f"--dashboard-host={HEAD}", *head)
            self._wait(HEAD, lambda: _answers(HEAD, port) and _answers(HEAD, dashboard), "Ray's head node")
            self._node(WORKER, f"--address={self.address}")
            self._wait(WORKER, lambda: self._alive() == 2, "Ray's second node")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End both nodes, the worker first."""
        for node in reversed(self._nodes):
            processes.end(node)
        self._nodes.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill_worker(self) -> None:
        """The second node dies at once, as a machine does when its power fails."""
        node = self._nodes.pop()
        for pid in [*processes.descendants(node.pid), node.pid]:
            os.kill(pid, signal.SIGKILL)
        node.wait()

    def start_worker(self) -> None:
        """A new second node in place of the one that was, whatever is left of that ended. It is there in a while."""
        if len(self._nodes) > 1:
            self.kill_worker()
        self._node(WORKER, f"--address={self.address}")

    def _node(self, ip: str, *options: str) -> None:
        ports = processes.free_ports(6, ip)
        names = (
            "object-manager-port",
            "node-manager-port",
            "dashboard-agent-listen-port",
            "dashboard-agent-grpc-port",
            "metrics-export-port",
            "runtime-env-agent-port",
        )
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--node-ip-address={ip}", *options),
            *(f"--{name}={port}" for name, port in zip(names, ports, strict=True)),
            f"--num-cpus={self.cpus}",
            f"--object-store-memory={self.store_mb * 2**20}",
            f"--temp-dir={self.folder}",
            "--disable-usage-stats",
        ]
        log = self.folder / f"{ip}.log"
        self._nodes.append(processes.start(command, log=log, env=self.env, death_signal=signal.SIGTERM))

    def _wait(self, ip: str, ready: Callable[[], bool], what: str) -> None:
        processes.wait_for(ready, seconds=_START_SECONDS, what=what, log=self.folder / f"{ip}.log")

    def _alive(self) -> int:
        """Nodes that the head knows to be alive."""
        from ray._raylet import GcsClient  # type: ignore[attr-defined]  # a compiled module

        nodes = GcsClient(address=self.address).get_all_node_info().values()
        return sum(node.state == 0 for node in nodes)


def _answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0
