"""An erasure of somebody from a dataset of which a shard is damaged: nothing ends, until it is restored or given up."""

from collections.abc import Callable
from typing import Any

import pytest

from deemo_dist.config import RunConfig
from deemo_dist.dataset import open_dataset, read_info, verify, write_manifest
from deemo_dist.errors import DamagedSampleError, DatasetError, DeemoError, NotFoundError, StorageError
from deemo_dist.storage import Store, open_store
from pipelines.datasets import check
from pipelines.erasure.receipt import told
from tests.erasing import ADA, CLIPS, erase
from tests.made import make


def flipped(store: Store, key: str) -> None:
    store.put(key, bytes(byte ^ 1 for byte in store.get(key)))


def shortened(store: Store, key: str) -> None:
    store.put(key, store.get(key)[:600])


def gone(store: Store, key: str) -> None:
    store.delete(key)


@pytest.mark.parametrize("damage", [flipped, shortened, gone])
def test_a_damaged_shard_ends_nothing_and_is_restored_or_given_up(
    config: RunConfig, store: Store, damage: Callable[[Store, str], None]
) -> None:
    shard = store.list("datasets/demo/v1/shards")[0]
    damage(store, shard)
    lost = len([row for row in open_dataset(store, "demo", "v1").index if row.shard == shard.rpartition("/")[2]]) - 1
    for _ in range(2):
        with pytest.raises(DamagedSampleError, match=rf"{shard}.* restore that shard .*--drop-damaged") as caught:
            erase(config, ADA)
    assert "\n" not in str(caught.value)
    assert not store.exists("datasets/demo/v1/tombstone.json")
    with pytest.raises(DeemoError, match=shard):
        check(config, deep=True)
    receipt = erase(config, ADA, drop_damaged=True)
    assert receipt.versions == (("demo/v1", "demo/v1-e1", 3),) and receipt.damaged == lost > 0
    assert f"{lost} samples of others are rejected" in told("", receipt)
    assert verify(store, "demo", "v1-e1", deep=True) == []
    new = open_dataset(store, "demo", "v1-e1")
    assert (new.info.clips, new.info.samples, new.info.rejected) == (6, 6 - lost, lost)
    assert {(row.stage, row.reason) for row in new.ledger if row.status == "rejected"} == {("erase", "damaged")}


@pytest.mark.parametrize("damage", [shortened, gone])
def test_so_is_a_shard_without_the_person(config: RunConfig, damage: Callable[[Store, str], None]) -> None:
    store, clips = open_store(config.storage), sorted(CLIPS, key=lambda clip: clip.subject, reverse=True)
    write_manifest(clips, store)
    make(config, clips)
    damage(store, store.list("datasets/demo/v1/shards")[0])
    with pytest.raises(DamagedSampleError, match=r"shards/00000-\w+.tar.* restore that shard"):
        erase(config, ADA)
    receipt = erase(config, ADA, drop_damaged=True)
    assert receipt.damaged >= 2 and verify(store, "demo", "v1-e1", deep=True) == []
    assert read_info(store, "demo", "v1-e1").samples == 6 - receipt.damaged


def test_a_shard_that_is_restored_loses_nobody_else(config: RunConfig, store: Store) -> None:
    shard = store.list("datasets/demo/v1/shards")[0]
    whole = store.get(shard)
    flipped(store, shard)
    with pytest.raises(DamagedSampleError):
        erase(config, ADA)
    store.put(shard, whole)
    assert erase(config, ADA).damaged == 0 and read_info(store, "demo", "v1-e1").samples == 6


def test_a_store_that_does_not_answer_loses_nobody(
    config: RunConfig, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, match in ((StorageError("no answer"), "no answer"), (NotFoundError("not there"), "not there")):

        def fails(*_: Any, error: Exception = error) -> Any:
            raise error

        with monkeypatch.context() as patch, pytest.raises(StorageError, match=match):
            for name in ("get_range", "size"):
                patch.setattr(type(store), name, fails)
            erase(config, ADA, drop_damaged=True)
    assert erase(config, ADA).damaged == 0 and read_info(store, "demo", "v1-e1").samples == 6


def test_where_nobody_can_be_read_no_version_is_made(config: RunConfig, store: Store) -> None:
    whole = {shard: store.get(shard) for shard in store.list("datasets/demo/v1/shards")}
    for shard in whole:
        flipped(store, shard)
    with pytest.raises(DatasetError, match="no sample for datasets/demo/v1-e1 can be read"):
        erase(config, ADA, drop_damaged=True)
    assert not store.exists("datasets/demo/v1/tombstone.json")
    for shard, data in whole.items():
        store.put(shard, data)
    assert erase(config, ADA).damaged == 0 and read_info(store, "demo", "v1-e1").samples == 6
