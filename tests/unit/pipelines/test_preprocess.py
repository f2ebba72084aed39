"""The driver of preprocessing: what it refuses before anything is done, and what it mends afterwards."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deemo_dist.config import RunConfig
from deemo_dist.dataset import dataset_prefix, open_dataset, write_manifest
from deemo_dist.errors import ConfigError, CorruptDataError, DatasetError, LaunchError, NotFoundError, StorageError
from deemo_dist.records import Clip
from deemo_dist.samples import generate_clips, read_jsonl
from deemo_dist.samples.manifest import MANIFEST
from deemo_dist.storage import open_store
from pipelines.preprocess import run_preprocess
from tests.made import PEOPLE, clips_of, make


def of_manifest(config: RunConfig, clips: list[Clip]) -> RunConfig:
    """The run over a manifest of these clips, in the shards that :func:`tests.made.make` makes."""
    store = open_store(config.storage)
    uri = store.uri(write_manifest(clips, store)[0])
    return replace(config, data=replace(config.data, manifest=uri, shard_bytes=3000))


def test_a_subject_in_two_splits_is_refused_before_anything_is_begun(config: RunConfig) -> None:
    clips = clips_of()
    clips[3] = replace(clips[3], split="test")
    with pytest.raises(DatasetError, match=r"1 subjects have clips in more than one split .*rows 1 and 4") as caught:
        run_preprocess(of_manifest(config, clips))
    assert PEOPLE[0] not in str(caught.value)
    assert not open_store(config.storage).list("datasets")


@pytest.mark.parametrize(
    ("part", "values", "said"),
    [
        ("execution", {"workers": 0}, "execution.workers is 0 - 1 at least"),
        ("execution", {"workers": 0, "executor": "slurm"}, "execution.workers is 0 - 1 at least"),
        ("execution", {"tasks": 0}, "execution.task is 0 of 0 tasks"),
        ("launch", {"tasks": 0}, "launch.tasks is 0 - it must be 1 or more"),
    ],
)
def test_room_for_no_work_is_refused_before_anything_is_begun(
    config: RunConfig, part: str, values: dict[str, Any], said: str
) -> None:
    run = of_manifest(config, clips_of())
    run = replace(run, execution=replace(run.execution, executor="slurm" if part == "launch" else "local"))
    with pytest.raises((ConfigError, LaunchError), match=said):
        run_preprocess(replace(run, **{part: replace(getattr(run, part), **values)}))
    assert not open_store(config.storage).list("datasets")


@pytest.mark.parametrize("part", ["index", "ledger", "annotations", "dataset.json"])
def test_what_is_missing_is_made_again_of_the_receipts(
    config: RunConfig, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, clips = open_store(config.storage), clips_of()
    run = of_manifest(config, clips)
    info = make(config, clips, order="key")
    assert info is not None and run_preprocess(run) == info
    before = {key: store.get(key) for key in store.list("")}
    gone = next(key for key in before if part in key and not key.startswith("manifests"))
    store.delete(gone)
    with pytest.raises((CorruptDataError, DatasetError), match=r"is missing - to rebuild it run again|run `deemo pre"):
        open_dataset(store, "demo", "v1")
    gated: list[str] = []
    monkeypatch.setattr("pipelines.audit.audit_gate", lambda *_: gated.append("looked"))
    assert run_preprocess(run) == info
    assert {key: store.get(key) for key in store.list("")} == before
    assert bool(gated) == (part == "dataset.json")  # what was committed is not judged again
    assert open_dataset(store, "demo", "v1").digest == info.dataset_digest


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of three clips of one person, and the manifest of them."""
    folder = tmp_path_factory.mktemp("films")
    generate_clips(folder, subjects=1, clips_per_subject=3, seed=3, workers=1)
    return folder


def over(config: RunConfig, films: Path, mount: Path) -> RunConfig:
    """The run over these clips as they are seen through ``mount``; a shard holds one."""
    clips = [replace(clip, uri=f"file://{mount}/{Path(clip.uri).name}") for clip in read_jsonl(films / MANIFEST)]
    run = of_manifest(config, clips)
    return replace(run, data=replace(run.data, failure_budget=1.0), execution=replace(run.execution, workers=1))


@pytest.mark.slow
def test_what_is_not_mounted_rejects_nothing_and_is_made_whole_when_it_is_back(
    config: RunConfig, films: Path, tmp_path: Path
) -> None:
    mount, store = tmp_path / "mount", open_store(config.storage)
    run = over(config, films, mount)
    mount.mkdir()
    for _ in ("an empty mount point", "none"):
        with pytest.raises(StorageError, match="cannot be looked for: its folder") as caught:
            run_preprocess(run)
        assert not isinstance(caught.value, NotFoundError) and str(mount) not in str(caught.value)
        assert not store.list(f"{dataset_prefix('demo', 'v1')}/receipts")
        if mount.exists():
            mount.rmdir()
    mount.symlink_to(films)
    info = run_preprocess(run)
    assert info is not None and (info.samples, info.rejected) == (3, 0)


@pytest.mark.slow
def test_a_clip_that_is_gone_from_beside_others_is_rejected(config: RunConfig, films: Path, tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    shutil.copytree(films, mount)
    run = over(config, films, mount)
    next(mount.glob("*.mp4")).unlink()
    info = run_preprocess(run)
    assert info is not None and (info.samples, info.rejected) == (2, 1)
    rows = open_dataset(open_store(config.storage), "demo", "v1").ledger
    assert [(row.stage, row.reason) for row in rows if row.status == "rejected"] == [("fetch", "missing")]
