"""Receipts: one wins, whatever happens; a unit of rejections has no tar."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deemo_dist.config import StorageConfig
from deemo_dist.dataset import UnitBuilder, commit_unit, committed_units, pending_units, plan_units, read_receipt
from deemo_dist.dataset.lifecycle.tombstones import put_tombstone
from deemo_dist.dataset.receipts import commit_put, decode_receipt, encode_receipt
from deemo_dist.errors import CorruptDataError, DatasetError, NotFoundError, StorageError
from deemo_dist.records import Unit
from deemo_dist.storage import Store, open_store

PREFIX = "datasets/demo/v1"


@pytest.fixture
def unit(made: Any) -> Unit:
    return Unit(index=3, clips=tuple(made.clips(4)))


def test_a_receipt_survives_json(made: Any, unit: Unit) -> None:
    receipt, _ = made.receipt(unit, {unit.clips[1].uri}, seconds=1.5)
    assert decode_receipt(encode_receipt(receipt), "here") == receipt
    assert [row.status for row in receipt.ledger] == ["written", "rejected", "written", "written"]


def test_of_two_committers_one_receipt_wins(made: Any, unit: Unit, store: Store) -> None:
    works = [made.receipt(unit, {unit.clips[n].uri}, seconds=float(n)) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        standing = list(pool.map(lambda work: commit_unit(store, PREFIX, *work), works))
    assert len({receipt.tar.digest for receipt in standing}) == 1
    assert read_receipt(store, PREFIX, 3) == standing[0]
    tar = store.get(f"{PREFIX}/shards/{standing[0].tar.name}")
    assert standing[0].tar.holds(tar)
    assert committed_units(store, PREFIX) == {3}


def test_a_unit_of_rejections_has_a_receipt_and_no_tar(made: Any, unit: Unit, store: Store) -> None:
    receipt, tar = made.receipt(unit, {clip.uri for clip in unit.clips})
    assert tar is None
    commit_unit(store, PREFIX, receipt, tar)
    assert read_receipt(store, PREFIX, 3).tar is None
    assert store.list(f"{PREFIX}/") == [f"{PREFIX}/receipts/00003.json"]


def test_only_units_without_a_receipt_are_pending(made: Any, store: Store) -> None:
    units = plan_units(made.clips(9), 3000)
    commit_unit(store, PREFIX, *made.receipt(units[1]))
    assert [unit.index for unit in pending_units(store, PREFIX, units)] == [u.index for u in units if u.index != 1]


def test_tar_and_receipt_must_belong_together(made: Any, unit: Unit, store: Store) -> None:
    receipt, shard = made.receipt(unit)
    for other in (None, replace(shard, tar=replace(shard.tar, blake3="0" * 64))):
        with pytest.raises(DatasetError, match="not the one of its receipt"):
            commit_unit(store, PREFIX, receipt, other)
    assert store.list(f"{PREFIX}/") == []


def test_a_tombstoned_version_takes_no_unit(made: Any, unit: Unit, store: Store) -> None:
    put_tombstone(store, PREFIX, why="erasure", replaced_by=None)
    with pytest.raises(DatasetError, match="tombstoned"):
        commit_unit(store, PREFIX, *made.receipt(unit))
    assert store.list(PREFIX) == [f"{PREFIX}/tombstone.json"]


def test_what_came_in_while_the_version_was_tombstoned_is_taken_back(made: Any, unit: Unit, store: Store) -> None:
    receipt, shard = made.receipt(unit)

    def put(key: str) -> None:
        store.put_chunks(key, shard.chunks)
        put_tombstone(store, PREFIX, why="erasure", replaced_by=None)

    with pytest.raises(DatasetError, match="tombstoned"):
        commit_put(store, PREFIX, receipt, put)
    assert store.list(PREFIX) == [f"{PREFIX}/tombstone.json"]


@pytest.mark.parametrize("same", [True, False])
def test_a_straggler_takes_back_what_it_brought_and_nothing_else(
    made: Any, unit: Unit, store: Store, same: bool
) -> None:
    commit_unit(store, PREFIX, *made.receipt(unit))
    before = store.list(PREFIX)
    receipt, shard = made.receipt(unit, set() if same else {unit.clips[0].uri})

    def put(key: str) -> None:
        store.put_chunks(key, shard.chunks)
        put_tombstone(store, PREFIX, why="erasure", replaced_by="demo/v1-e1")

    with pytest.raises(DatasetError, match="tombstoned"):
        commit_put(store, PREFIX, receipt, put)
    assert store.list(PREFIX) == [*before, f"{PREFIX}/tombstone.json"]


def test_a_tar_that_was_collected_before_its_receipt_stood_is_put_again(
    made: Any, unit: Unit, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_new, shards = type(store).put_new, f"{PREFIX}/shards"

    def late(self: Store, key: str, data: bytes) -> None:
        for each in store.list(shards):
            store.delete(each)
        put_new(self, key, data)

    monkeypatch.setattr(type(store), "put_new", late)
    receipt = commit_unit(store, PREFIX, *made.receipt(unit))
    assert store.list(shards) == [f"{shards}/{receipt.tar.name}"]


def test_bad_receipts_are_named(made: Any, unit: Unit, store: Store) -> None:
    receipt, _ = made.receipt(unit)
    with pytest.raises(NotFoundError):
        read_receipt(store, PREFIX, 3)
    with pytest.raises(DatasetError, match="receipt of format 99"):
        decode_receipt(encode_receipt(replace(receipt, version=99)), "here")
    for data in (b"", b"[]", b'{"version": 1}', encode_receipt(receipt)[:-20]):
        with pytest.raises(CorruptDataError, match="there"):
            decode_receipt(data, "there")


def test_a_unit_accounts_for_each_clip_once(made: Any, unit: Unit) -> None:
    builder = UnitBuilder(0, 2, policy_digest="x", toolchain_digest="t")
    builder.rejected("a" * 32, stage="decode", reason="empty")
    with pytest.raises(DatasetError, match="1 of 2 clips"):
        builder.finish()
    with pytest.raises(DatasetError, match="twice"):
        builder.rejected("a" * 32, stage="decode", reason="empty")
    with pytest.raises(DatasetError, match="another policy"):
        builder.written(made.sample(unit.clips[0], 0), None)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    (tmp_path / "small").mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path / "small"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield tmp_path / "small"
    subprocess.run(["umount", tmp_path / "small"], check=True)


@pytest.mark.parametrize("room", [0, 20_000, 40_000])
def test_a_full_disk_commits_nothing_and_the_same_unit_comes_in_once_there_is_room(
    made: Any, unit: Unit, small: Path, room: int
) -> None:
    """At the shard (of about 30 kB), or between it and its receipt."""
    store = open_store(StorageConfig(root=f"file://{small}"))
    receipt, shard = made.receipt(unit)
    assert 20_000 < receipt.tar.size < 40_000
    filler = small / "filler"
    pages = (os.statvfs(small).f_bavail * os.statvfs(small).f_frsize - room) // 4096
    filler.write_bytes(b"x" * (pages * 4096))
    with pytest.raises(StorageError, match=r"cannot write datasets/demo/v1/.* No space left .*free some space"):
        for number in range(9):  # the shard goes in where there is room for it: then a receipt does not
            commit_unit(store, PREFIX, replace(receipt, unit=3 + number), shard)
    committed = committed_units(store, PREFIX)
    assert not [path for path in small.rglob("*") if path.suffix == ".tmp"]
    assert all(read_receipt(store, PREFIX, number).tar == receipt.tar for number in committed)
    filler.unlink()
    standing = commit_unit(store, PREFIX, receipt, shard)
    assert standing.tar.holds(store.get(f"{PREFIX}/shards/{standing.tar.name}"))
