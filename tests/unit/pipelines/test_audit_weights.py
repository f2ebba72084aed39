"""Where the verbs look for weights: where the run says, whatever is in the home folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deemo_dist.config import RunConfig
from deemo_dist.weights.cache import cache_folder
from pipelines.verbs.common import load_run
from tests.made import clips_of, make

ALONE = """
import sys
from deemo_dist.config import RunConfig, StorageConfig, DataConfig, WeightsConfig
from pipelines.audit import run_audit
root, cache = sys.argv[1:]
run = RunConfig(
    name="run", storage=StorageConfig(root=root), data=DataConfig(name="demo", version="v1"),
    weights=WeightsConfig(cache=cache),
)
print(run_audit(run, raw=None, boxes=None, names=None, clips=2).figures.clips)
"""


def test_an_audit_finds_its_models_in_the_cache_of_the_run_with_an_empty_home(
    config: RunConfig, tmp_path: Path
) -> None:
    make(config, clips_of(3))
    home, full = tmp_path / "home", cache_folder().parent
    home.mkdir()
    gone = ("DEEMO_CACHE", "DEEMO_WEIGHTS_MIRROR")
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(config.storage.root), str(full)],
        env={**environment, "HOME": str(home), "PIP_NO_INDEX": "1", "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "2", done.stderr
    assert not (home / ".cache/deemo_dist").exists()


def test_every_verb_looks_where_its_run_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEMO_CACHE", "")
    load_run("demo", [f"weights.cache={tmp_path}"])
    assert cache_folder() == tmp_path / "weights"
