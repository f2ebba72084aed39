"""Preprocessing onto a disk that is full: one clear line, nothing half-written, and the same command goes on after."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deemo_dist.config import load
from deemo_dist.dataset import verify
from deemo_dist.errors import StorageError
from deemo_dist.samples import generate_clips
from deemo_dist.storage import open_store
from pipelines.ingest import ingest_source
from pipelines.preprocess import run_preprocess

pytestmark = pytest.mark.system

RUN = """
bases: [policies/standard]
name: full
keys: {source: demo}
data: {name: full, version: v1, shard_bytes: 1, allow_weak_policy: true}
policy: {transcript: drop, asr: never, mute: false, captions: keep, voice: drop, mask_heads: false}
execution: {executor: local, workers: 1}
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_stops_preprocessing_and_the_same_command_goes_on(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RUN)
    where = [f"storage.root=file://{disk / 'store'}", f"storage.cache={tmp_path / 'cache'}"]
    config = load(tmp_path / "run.yaml", where)
    generate_clips(tmp_path / "raw", subjects=1, clips_per_subject=2, seed=5, workers=1)
    manifest, clips = ingest_source(str(tmp_path / "raw" / "manifest.jsonl"), config)
    config = load(tmp_path / "run.yaml", [*where, f"data.manifest={manifest}"])
    state = os.statvfs(disk)  # room for a header, not for a shard
    (disk / "filler").write_bytes(bytes(state.f_bavail * state.f_frsize - 3 * 4096))
    with pytest.raises(StorageError, match=r"cannot write datasets/full/v1/shards/.*: No space left .*free some space"):
        run_preprocess(config)
    store = open_store(config.storage)
    assert store.list("datasets") == ["datasets/full/v1/header.json"] and not list(disk.rglob("*.tmp"))
    (disk / "filler").unlink()
    info = run_preprocess(config)
    assert info is not None and info.samples == clips == 2
    assert verify(store, "full", "v1", deep=True, allow_weak=True) == []
