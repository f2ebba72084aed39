"""The actor that runs one rank on a node of a Ray cluster, as a process of its own: the same body as everywhere."""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from deemo_dist.launch.process import Child, Reaper, free_port


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a rank stands: its node's address and id, a port that is free there, and the GPU that Ray gave it."""

    host: str
    node: str
    port: int
    gpu: str = ""


@dataclass(frozen=True, kw_only=True)
class News:
    """What a rank has written since the last question, and how it ended: None while it runs, negative for a signal."""

    lines: tuple[str, ...]
    code: int | None


class RankActor:
    """One rank. No method waits, so that the driver can ask, signal and end it at any time."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._reaper: Reaper | None = None

    def place(self) -> Place:
        """Where this actor is, by Ray's word."""
        import ray

        host = ray.util.get_node_ip_address()
        node, gpus = ray.get_runtime_context().get_node_id(), [str(gpu) for gpu in ray.get_gpu_ids()]
        return Place(host=host, node=node, port=free_port(host), gpu="".join(gpus[:1]))

    def start(self, command: Sequence[str], variables: dict[str, str], cwd: str) -> None:
        """Start the rank with torchrun's variables on top of the node's own environment."""
        loopback = {"GLOO_SOCKET_IFNAME": "lo"} if variables["MASTER_ADDR"].startswith("127.") else {}
        env = {**loopback, **os.environ, **variables}
        self._reaper = Reaper()
        self._child = Child(command, env, capture=True, cwd=cwd)
        self._reaper.watch(self._child.pid)

    def news(self) -> News:
        """What it wrote, and whether it has ended."""
        assert self._child is not None
        code = self._child.returncode  # before reading: what it wrote until its end is then read, too
        lines = self._child.read()
        last = self._child.tail()[-1:] if code is not None and self._child.partial else []
        return News(lines=(*lines, *last), code=code)

    def tail(self) -> list[str]:
        """The last lines of the rank."""
        return [] if self._child is None else self._child.tail()

    def send(self, number: int) -> None:
        """Signal the rank."""
        if self._child is not None:
            self._child.send(signal.Signals(number))

    def ask_for_stacks(self) -> None:
        """Have the rank write its stacks into its file on this node."""
        if self._child is not None:
            self._child.ask_for_stacks()

    def end(self) -> None:
        """Kill what is left of the rank."""
        if self._child is not None and self._reaper is not None:
            self._child.end()
            self._reaper.close()
