"""Fixtures of the training tests: a real file store, and real ranks as processes."""

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from deemo_dist.config import StorageConfig
from deemo_dist.storage import Store, open_store
from tests.unit.training.forks import fork_server

WORKER = Path(__file__).with_name("worker.py")
ROOT = Path(__file__).parents[3]
LIMIT = 300


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StorageConfig(root=f"file://{tmp_path}/store"))


@dataclass
class Job:
    """What a few ranks left: exit codes, what they said, and the rows of their listeners."""

    folder: Path
    codes: list[int]

    def output(self, rank: int = 0) -> str:
        return (self.folder / f"output-{rank}").read_text()

    def rows(self, stage: str = "s", rank: int = 0) -> list[dict]:
        path = self.folder / f"{stage}-{rank}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def steps(self, stage: str = "s", rank: int = 0) -> dict[int, dict]:
        """The last report of each step."""
        return {row["step"]: row for row in self.rows(stage, rank) if "step" in row}

    def hexes(self, stage: str = "s") -> dict[int, str]:
        return {step: row["hex"] for step, row in self.steps(stage).items()}

    def losses(self, stage: str = "s") -> list[float]:
        return [row["loss"] for _, row in sorted(self.steps(stage).items())]


Runner = Callable[..., Job]


def run_ranks(folder: Path, ranks: int, plan: dict) -> Job:
    """Run the worker on ``ranks`` processes with torchrun's variables; a second call in the same folder goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = {"out": str(folder), "store": f"file://{folder}/store", "steps": 8, **plan}
    (folder / "plan.json").write_text(json.dumps(plan))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    server = fork_server()
    children = []
    for rank in range(ranks):
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)])),
            "OMP_NUM_THREADS": "1",
            "DS_ACCELERATOR": "cpu",
            "GLOO_SOCKET_IFNAME": "lo",
            "RANK": str(rank),
            "WORLD_SIZE": str(ranks),
            "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        children.append(server.fork([str(WORKER), str(folder / "plan.json")], env, folder / f"output-{rank}"))
    codes = [server.wait(child, LIMIT) for child in children]
    return Job(folder=folder, codes=codes)


@pytest.fixture
def ranks(tmp_path: Path) -> Runner:
    def run(count: int, name: str = "job", **plan: object) -> Job:
        return run_ranks(tmp_path / name, count, dict(plan))

    return run


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Two ranks, eight steps, nothing happens: what others are compared with."""
    job = run_ranks(tmp_path_factory.mktemp("undisturbed"), 2, {})
    assert job.codes == [0, 0], job.output() + job.output(1)
    return job
