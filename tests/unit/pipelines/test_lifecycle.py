"""The verbs as typed: what they print, what they refuse, and that nothing raw is in it."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deemo_dist.config import RunConfig, StorageConfig
from deemo_dist.dataset import read_info, write_manifest
from deemo_dist.dataset.lifecycle.tombstones import put_tombstone
from deemo_dist.errors import ConfigError, DatasetError
from deemo_dist.storage import open_store
from deemo_dist.storage.elsewhere import VARIABLE, elsewhere
from pipelines.cli import app
from pipelines.lifecycle import seconds_of
from tests.made import PEOPLE, clips_of, config_of, make


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setenv("DEEMO_ROOT_KEY", os.urandom(32).hex())
    monkeypatch.setenv("DEEMO_NEW_ROOT_KEY", os.urandom(32).hex())
    config = config_of(tmp_path)
    write_manifest(clips_of(), open_store(config.storage))
    make(config, clips_of(), rejected=(1,))
    (tmp_path / "run.yaml").write_text(
        f"name: run\nstorage: {{root: 'file://{tmp_path}/store', cache: '{tmp_path}/cache'}}\n"
        "tracking: {enabled: false}\ndata: {name: demo, version: v1}\n"
    )
    return config


@pytest.fixture
def deemo(config: RunConfig, tmp_path: Path) -> "Deemo":
    return Deemo(tmp_path / "run.yaml")


class Deemo:
    """The command line on a run."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def __call__(self, *words: str, told: str | None = None) -> str:
        result = CliRunner().invoke(app, [*words, "-c", str(self.run)], input=told)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output


def test_a_dataset_through_its_life(deemo: "Deemo", tmp_path: Path) -> None:
    said = deemo("dataset", "ls")
    assert said.splitlines()[1].split()[:4] == ["demo/v1", "committed", "9", "8"]
    for name, condition in (("test", "split == 'test'"), ("rest", "split != 'test'")):
        assert f"dataset demo/{name}: 9 clips" in deemo("dataset", "filter", condition, "--into", f"demo/{name}")
    said = deemo("dataset", "merge", "demo/test", "demo/rest", "--into", "all/v1", "data.version=v1")
    assert "all/v1: 9 clips = 8 written + 1 rejected" in said
    assert "made by      merge of demo/test" in deemo("dataset", "show", "data.name=all")
    assert deemo("dataset", "preview", "--clips", "1").strip().endswith("previews/demo-v1.html")
    (tmp_path / "who").write_text(f"{PEOPLE[0]}\nnot this line\n")
    with pytest.raises(DatasetError, match="nothing was changed"):
        deemo("dataset", "erase", "--subject-file", str(tmp_path / "who"), told="n\n")
    page = tmp_path / "cache/previews/demo-v1.html"
    said = deemo("dataset", "erase", told=f"{PEOPLE[0]}\ny\n")  # asked for, and agreed to
    assert "0 found" in said and "all/v1 -> all/v1-e1 (3 clips less)" in said and PEOPLE[0] not in said
    assert not page.exists()
    listed = " ".join(deemo("dataset", "ls").split())
    assert "demo/v1 tombstoned (erasure" in listed and "erase of demo/v1, 3 clips erased" in listed
    assert "nothing to remove" in deemo("dataset", "gc")
    with pytest.raises(DatasetError, match="tombstoned"):
        deemo("dataset", "show")
    said = deemo(
        *("keys", "rotate", "--into", "demo/v2", "--new-variable", "DEEMO_NEW_ROOT_KEY", "--voices", "keep"),
        *("--tombstone", "data.version=v1-e1"),
    )
    assert "dataset demo/v2: 6 clips" in said and "now demo/v2" in deemo("dataset", "ls")


def test_another_machines_cache_loses_what_shows_a_version_that_is_no_more(
    deemo: "Deemo", config: RunConfig, tmp_path: Path
) -> None:
    """Its pages are told by their version, the digest in them, or their age; figures that wait for MLflow stay."""
    store, cache = open_store(config.storage), tmp_path / "cache"
    make(replace(config, data=replace(config.data, version="v2")), clips_of())
    digests = {version: read_info(store, "demo", version).dataset_digest for version in ("v1", "v2")}
    pages = {
        "previews/demo-v1.html": "",
        "previews/demo-v2.html": "",
        "runs/run/evaluation-1/report.html": digests["v1"],
        "runs/run/evaluation-2/report.html": digests["v2"],
        "tracking/artifacts/1/artifacts/report/predictions.json": "",
        "tracking/artifacts/1/artifacts/config/resolved.yaml": "",
        "tracking/spool/run/files/1/report.html": "",
        "tracking/spool/run/1.facts.jsonl": "",
        "costs/1.json": "",
        "notes.txt": "",
    }
    for name, content in pages.items():
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_text(content)
    assert deemo("dataset", "gc", "--cache").strip() == f"{cache}: nothing to remove"
    put_tombstone(store, "datasets/demo/v1", why="erasure", replaced_by="demo/v2")
    (cache / "runs/run/evaluation-3").mkdir(parents=True)
    (cache / "runs/run/evaluation-3/report.html").write_text("of afterwards")
    os.utime(cache / "runs/run/evaluation-3/report.html", (time.time() + 60,) * 2)
    said = (
        f"{cache}: blocks of 0 shards that no version has, 4 pages of versions that are no more; --delete removes them"
    )
    assert deemo("dataset", "gc", "--cache").strip() == said
    assert "4 pages of versions that are no more: removed" in deemo("dataset", "gc", "--cache", "--delete")
    gone = {name for name in pages if not (cache / name).exists()}
    assert gone == {
        "previews/demo-v1.html",
        "runs/run/evaluation-1/report.html",
        "tracking/artifacts/1/artifacts/report/predictions.json",
        "tracking/spool/run/files/1/report.html",
    }
    assert (cache / "runs/run/evaluation-3/report.html").exists()
    assert deemo("dataset", "gc", "--cache").strip() == f"{cache}: nothing to remove"


def test_a_cache_that_is_not_there_is_said_to_be_elsewhere(
    deemo: "Deemo", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = deemo("dataset", "gc", "--cache", "--delete", "storage.cache=build/nowhere")
    assert said.startswith(f"{tmp_path}/build/nowhere: there is no cache on this machine") and "'build/nowhere'" in said


def test_what_is_refused(deemo: "Deemo", tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    for words, wrong in (
        (("dataset", "erase", "--subject-file", str(tmp_path / "empty")), "names nobody"),
        (("dataset", "erase", "--subject", "a", "--subject-key", "0" * 32), "name one person"),
        (("dataset", "erase", "--subject-key", "xyz"), "no subject key"),
        (("dataset", "filter", "fps", "--into", "demo/v2"), "a comparison is wanted"),
        (("dataset", "gc", "--older-than", "5m"), "1h at least"),
        (("keys", "rotate", "--into", "demo/v2"), "where the new root key is"),
        (("keys", "rotate", "--into", "demo/v2", "--new-file", "x", "--voices", "louder"), "keep or drop"),
    ):
        with pytest.raises(ConfigError, match=wrong):
            deemo(*words)
    with pytest.raises(DatasetError, match="names no version"):
        deemo("dataset", "merge", "demo/v1", "demo", "--into", "demo/v2")
    with pytest.raises(DatasetError, match="begun with another"):
        deemo("dataset", "filter", "fps > 1", "--into", "demo/v1")


def test_a_verb_lets_the_run_say_how_its_models_bucket_is_asked(
    deemo: "Deemo", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "{}")
    deemo("dataset", "show", "storage.endpoint=http://s3:9000", "storage.retries=3")
    assert elsewhere("s3://b/m") == StorageConfig(root="s3://b/m", endpoint="http://s3:9000", retries=3)


@pytest.mark.parametrize(("age", "seconds"), [("60m", 3600.0), ("12h", 43_200.0), ("7d", 604_800.0), (" 1h ", 3600.0)])
def test_ages(age: str, seconds: float) -> None:
    assert seconds_of(age) == seconds


@pytest.mark.parametrize("age", ["", "59m", "0d", "1", "1w", "-1h", "1.5h", "9999999h", "1h1m"])
def test_what_is_no_age(age: str) -> None:
    with pytest.raises(ConfigError, match="older-than"):
        seconds_of(age)


@pytest.mark.slow
def test_a_name_is_in_no_line_of_an_erasure_and_its_errors_are_one_line(deemo: "Deemo", tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipelines.cli", "dataset", "erase", "-c", str(deemo.run), "--subject-file", "-"]
    for name, code in ((PEOPLE[0], 0), (PEOPLE[0], 1), ("Nobody At All", 1)):
        done = subprocess.run([*command, "--yes"], input=f"{name}\n", capture_output=True, text=True, check=False)
        assert done.returncode == code and name not in done.stdout + done.stderr
        assert code == 0 or len([line for line in done.stderr.splitlines() if line.startswith("deemo:")]) == 1
