"""Whole jobs through the command line: a tiny run on generated clips, once a session."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deemo_dist.config import RunConfig, load
from deemo_dist.storage import Store, open_store

TINY = Path(__file__).parent / "tiny.yaml"
RUBBISH = {
    "Empty Tape.mp4": b"",
    "Private Note.mp4": b"not a film\n",
    "Broken Reel.mp4": b"\0\0\0 ftypmp42" + b"\7" * 500,
}


@dataclass(frozen=True)
class Project:
    """A store, and the command line upon it."""

    folder: Path
    root: str
    extra: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    run: Path = TINY

    def overrides(self, *more: str) -> list[str]:
        return [f"storage.root={self.root}", f"storage.cache={self.folder / 'cache'}", *self.extra, *more]

    def config(self, *more: str) -> RunConfig:
        return load(self.run, self.overrides(*more))

    @property
    def store(self) -> Store:
        return open_store(self.config().storage)

    def start(self, verb: Sequence[str], *more: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "pipelines.cli", *verb, "-c", str(self.run), *self.overrides(*more)]
        env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **self.env}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)

    def deemo(self, *verb: str, more: Sequence[str] = (), code: int = 0, seconds: float = 600) -> str:
        """Run a verb to its end; what it printed. Fails the test when it ends otherwise than with ``code``."""
        process = self.start(verb, *more)
        said = process.communicate(timeout=seconds)[0]
        assert process.returncode == code, f"deemo {' '.join(verb)} ended with {process.returncode}:\n{said[-6000:]}"
        return said


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated clips with planted names, three files that are none, and the manifest of both."""
    from deemo_dist.samples import generate_clips

    folder = tmp_path_factory.mktemp("raw")
    generate_clips(folder, subjects=6, clips_per_subject=4, seed=11, workers=2)
    rows = (folder / "manifest.jsonl").read_text()
    for name, content in RUBBISH.items():
        (folder / name).write_bytes(content)
        rows += json.dumps({"uri": name, "subject": "Nora Nobody", "split": "train", "source": "rubbish"}) + "\n"
    (folder / "everything.jsonl").write_text(rows)
    return folder


@pytest.fixture(scope="session")
def project(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project on disk with its dataset made."""
    folder = tmp_path_factory.mktemp("project")
    project = Project(folder, f"file://{folder / 'store'}")
    manifest = ingest(project, raw)
    said = project.deemo("preprocess", more=[f"data.manifest={manifest}"])
    (folder / "preprocess.log").write_text(said)
    return Project(project.folder, project.root, (f"data.manifest={manifest}",))


@pytest.fixture(scope="session")
def trained(project: Project) -> Project:
    """The project with its three stages trained, undisturbed."""
    (project.folder / "train.log").write_text(project.deemo("train"))
    return project


def ingest(project: Project, raw: Path) -> str:
    """Write the manifest of ``raw``; its URI."""
    said = project.deemo("ingest", str(raw / "everything.jsonl"))
    return next(word for word in said.split() if word.startswith("data.manifest=")).removeprefix("data.manifest=")
