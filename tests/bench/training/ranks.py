"""A script of the bench as ZeRO-3 ranks over gloo: the one that is asked starts the others and tells them each word."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator

from deemo_dist.config import EngineConfig
from deemo_dist.training import Ranks, join, leave

WORLD = 2
ENGINE = EngineConfig(checkpoint_every=0, watchdog_seconds=120.0, timeout_seconds=120.0, preflight=False)


def words(
    engine: EngineConfig = ENGINE, world: int = WORLD, said: Iterable[str] = sys.stdin
) -> Iterator[tuple[Ranks, str]]:
    """What ``said`` (standard input) asks, on every rank, until there is no more."""
    other = None if "RANK" in os.environ else _others(world)
    ranks = join(engine)
    try:
        lines = iter(said)
        while word := ranks.from_first(next(lines, "").strip() if ranks.rank == 0 else None):
            yield ranks, word
    finally:
        leave()
        for process in other or ():
            process.wait(30)


def _others(world: int) -> list["subprocess.Popen[bytes]"]:
    """Set this process's place as rank 0, and start the others: the same command at their places."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    places = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "DS_ACCELERATOR": "cpu"}
    os.environ.update(places, GLOO_SOCKET_IFNAME="lo", OMP_NUM_THREADS="1", RANK="0", LOCAL_RANK="0")
    return [
        subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        for rank in range(1, world)
    ]
