"""Garbage: what nothing refers to goes when it is old; what anything refers to, or may be written now, stays."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deemo_dist.config import StorageConfig, TaskConfig
from deemo_dist.dataset import (
    StepPlan,
    begin_version,
    build_examples,
    cached,
    commit_unit,
    dataset_prefix,
    measure_lengths,
    mixed_lengths,
    open_dataset,
    plan_units,
    verify,
)
from deemo_dist.dataset.layout import plan_key
from deemo_dist.dataset.lifecycle.gc import Garbage, by_reason, collect, drop_blocks, garbage, stale_blocks
from deemo_dist.dataset.lifecycle.tombstones import put_tombstone
from deemo_dist.dataset.overlong import leave_out
from deemo_dist.dataset.packing import Budget
from deemo_dist.dataset.plan import PlanSettings
from deemo_dist.dataset.receipts import encode_receipt
from deemo_dist.digests import canonical_json
from deemo_dist.errors import CorruptDataError
from deemo_dist.records import Length
from deemo_dist.storage import Store
from tests.versioned import VersionedStore

DAY = 86_400.0


def age(store: Store, keys: Any = None) -> None:
    """Make files two days old."""
    for stored in store.history(""):
        if keys is None or stored.key in keys:
            path = store.local_path("x").parent / stored.key  # type: ignore[union-attr]
            os.utime(path, (time.time() - 2 * DAY,) * 2)


def kinds(found: list[Garbage]) -> set[str]:
    return {each.stored.key for each in found}


@pytest.fixture
def whole(store: Store, made: Any) -> Store:
    made.dataset(store, plan_units(made.clips(6), 3000))
    return store


def litter(store: Store, made: Any) -> set[str]:
    """One piece of garbage of each kind; their keys."""
    prefix = dataset_prefix("demo", "v1")
    tar = store.list(f"{prefix}/shards")[0]
    store.copy(tar, f"{prefix}/shards/00000-ffffffffffffffff.tar")
    store.put(f"{prefix}/index/00007.parquet", b"PAR1")
    units = plan_units(made.clips(6), 3000)
    begin_version(store, "demo", "v2", made.header(units))
    commit_unit(store, dataset_prefix("demo", "v2"), *made.receipt(units[0]))
    store.copy(tar, "datasets/demo/v2/shards/00001-eeeeeeeeeeeeeeee.tar")
    store.put(f"annotations/{'a' * 64}/00000.parquet", b"PAR1")
    examples: Any = [type("E", (), {"key": "k", "task": "t", "turns": (), "modalities": (), "answer": None})]
    for digest in ("gone", open_dataset(store, "demo", "v1").digest):
        found = measure_lengths(
            examples,
            lambda _: Length(tokens=3, targets=1, frames=1, audio_seconds=0.0),
            dataset_digest=digest,
            processor_digest="p",
            store=store,
        )
        store.put(plan_key(f"over-{digest[:9]}"), canonical_json({"version": 2, "packs": [1], "lengths": found.digest}))
        if digest == "gone":
            measured = {*store.list("lengths"), *store.list("plans")}
    for number in (1, 2):
        store.put(f"runs/r/attempts/{number:04d}.json", b"{}")
    store.put("runs/r/s-1/commits/00000010-0001.json", b"{}")
    for tag in ("00000010-0001", "00000020-0001", "00000020-0002"):
        store.put(f"runs/r/s-1/checkpoints/{tag}/rank-00000.json", b"{}")
    half = store.local_path("x").parent / "runs/r/.0.tmp"  # type: ignore[union-attr]
    half.write_bytes(b"half")
    return {
        f"{prefix}/shards/00000-ffffffffffffffff.tar",
        f"{prefix}/index/00007.parquet",
        "datasets/demo/v2/shards/00001-eeeeeeeeeeeeeeee.tar",
        f"annotations/{'a' * 64}/00000.parquet",
        *measured,
        "runs/r/s-1/checkpoints/00000020-0001/rank-00000.json",
        "runs/r/s-1/checkpoints/00000020-0002/rank-00000.json",
        "runs/r/.0.tmp",
    }


def test_a_dataset_without_litter_keeps_all(whole: Store) -> None:
    age(whole)
    assert garbage(whole, older_than=0) == []


def test_litter_is_found_when_it_is_old_and_nothing_else_is(whole: Store, made: Any) -> None:
    wanted = litter(whole, made)
    assert garbage(whole, older_than=DAY) == []
    age(whole)
    found = garbage(whole, older_than=DAY)
    assert kinds(found) == wanted and sum(count for count, _ in by_reason(found).values()) == len(found)
    before = {stored.key for stored in whole.history("")}
    assert collect(whole, found) == len(wanted)
    assert before - {stored.key for stored in whole.history("")} == wanted
    assert garbage(whole, older_than=0) == [] and verify(whole, "demo", "v1", deep=True) == []


def test_what_a_running_job_writes_stays(whole: Store, made: Any) -> None:
    wanted = litter(whole, made)
    age(whole)
    whole.put("runs/r/attempts/0002.json", b"{}")  # the newest attempt is at work
    live = "runs/r/s-1/checkpoints/00000020-0002/rank-00000.json"
    found = garbage(whole, older_than=DAY)
    assert kinds(found) == wanted - {live}
    again = next(each.stored.key for each in found if each.stored.key.endswith("ffff.tar"))
    whole.put(again, whole.get(again))  # a rerun puts the same shard while garbage is collected
    assert collect(whole, found) == len(found) - 1 and whole.exists(again)


def test_a_shard_that_a_rerun_puts_again_while_garbage_is_collected_stays(whole: Store, made: Any) -> None:
    litter(whole, made)
    age(whole)
    found = sorted(garbage(whole, older_than=DAY), key=lambda each: each.stored.key.endswith("eeee.tar"))
    again = found[-1].stored.key
    assert collect(whole, found, on_object=lambda: whole.put(again, whole.get(again))) == len(found) - 1
    assert whole.exists(again)


def test_a_shard_whose_receipt_came_meanwhile_stays(whole: Store, made: Any) -> None:
    units = plan_units(made.clips(6), 3000)
    begin_version(whole, "demo", "v2", made.header(units))
    receipt, shard = made.receipt(units[1])
    tar = f"datasets/demo/v2/shards/{shard.tar.name}"
    whole.put_chunks(tar, shard.chunks)
    age(whole)
    found = garbage(whole, older_than=DAY)
    assert kinds(found) == {tar}
    whole.put_new("datasets/demo/v2/receipts/00001.json", encode_receipt(receipt))
    assert collect(whole, found) == 0 and whole.exists(tar)


def test_plans_that_checkpoints_name_stay(whole: Store, made: Any) -> None:
    wanted = litter(whole, made)
    age(whole)
    plan = next(key for key in wanted if key.startswith("plans/"))
    found = garbage(whole, older_than=DAY, plans_in_use=[plan.split("/")[1]])
    assert kinds(found) == wanted - {plan}


def test_plans_over_several_datasets_or_without_long_examples_stay_with_their_lengths(whole: Store) -> None:
    """Their lengths are made of tables that are stored, under digests that no table has."""
    dataset = open_dataset(whole, "demo", "v1")
    budget, settings = Budget(tokens=10, frames=10, audio_seconds=1.0), {"seed": 1, "epochs": 1, "packs_per_step": 1}
    tasks = {"emotion": TaskConfig(prompt="Which?", answer="{label.emotion}")}
    examples = build_examples(dataset, tasks, ["emotion"], "train")
    keys = {}
    for which, digest in (("here", dataset.digest), ("gone", "no dataset's")):
        long = iter(range(len(examples)))
        measured = measure_lengths(
            examples,
            lambda _, long=long: Length(tokens=99 if next(long) == 0 else 3, targets=1, frames=1, audio_seconds=0.0),
            dataset_digest=digest,
            processor_digest="p",
            store=whole,
        )
        few, short = leave_out(examples, measured, budget)
        mixed = mixed_lengths([short, short])
        for lengths in (short, mixed):
            shards = np.zeros(len(lengths), np.int64)
            plan = StepPlan(lengths, shards, PlanSettings(budget=budget, **settings), store=whole)
            keys[which, lengths is mixed] = plan_key(plan.digest)
        assert len(few) < len(examples)
    age(whole)
    assert {key for key in kinds(garbage(whole, older_than=DAY)) if key.startswith("plans/")} == {
        keys["gone", False],
        keys["gone", True],
    }


def test_tombstoned_versions_go_but_not_while_an_erasure_reads_them(whole: Store) -> None:
    put_tombstone(whole, "datasets/demo/v1", why="rotation", replaced_by="demo/v2")
    age(whole)
    whole.put("erasures/pending/x", b"sealed")
    assert not any(key.startswith("datasets") for key in kinds(garbage(whole, older_than=DAY)))
    whole.delete("erasures/pending/x")
    collect(whole, garbage(whole, older_than=DAY))
    assert whole.list("datasets") == ["datasets/demo/v1/tombstone.json"]


def test_a_version_that_cannot_be_read_stops_it(whole: Store) -> None:
    whole.put("datasets/demo/v1/dataset.json", b"{")
    with pytest.raises(CorruptDataError, match="demo/v1"):
        garbage(whole, older_than=0)


def test_blocks_of_shards_that_are_no_more_leave_this_machines_cache(whole: Store, tmp_path: Path) -> None:
    config = StorageConfig(root=whole.root, cache=str(tmp_path / "cache"))
    assert stale_blocks(whole, config) == set() and cached(whole, config) is whole
    live = whole.list("datasets/demo/v1/shards")[0].rpartition("/")[2]
    for name in (live, "00009-dddddddddddddddd.tar"):
        (tmp_path / "cache/shards" / name).mkdir(parents=True)
        (tmp_path / "cache/shards" / name / "1048576-000000").write_bytes(b"block")
    assert stale_blocks(whole, config) == {"00009-dddddddddddddddd.tar"}
    assert drop_blocks(config, stale_blocks(whole, config)) == 1
    assert [path.name for path in (tmp_path / "cache/shards").iterdir()] == [live]


@pytest.mark.parametrize("late", [b"block", None])
def test_a_folder_of_blocks_that_a_loader_uses_meanwhile_ends_nothing(
    whole: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bytes | None
) -> None:
    """It is written into, or removed by a sweep, between the look into it and its removal."""
    config = StorageConfig(root=whole.root, cache=str(tmp_path / "cache"))
    folder = tmp_path / "cache/shards/00009-dddddddddddddddd.tar"
    folder.mkdir(parents=True)
    (folder / "1048576-000000").write_bytes(b"block")
    real = Path.rmdir

    def meanwhile(path: Path) -> None:
        if late:
            (path / "1048576-000001").write_bytes(late)
        else:
            real(path)
        real(path)

    monkeypatch.setattr(Path, "rmdir", meanwhile)
    assert drop_blocks(config, [folder.name, "00010-eeeeeeeeeeeeeeee.tar"]) == 1
    assert folder.exists() is bool(late)


@pytest.fixture
def bucket(made: Any) -> VersionedStore:
    """A bucket that keeps versions, with a dataset and litter in it; two days pass."""
    store = VersionedStore()
    made.dataset(store, plan_units(made.clips(6), 3000))
    prefix = dataset_prefix("demo", "v1")
    for _ in range(2):  # each has an older version
        store.copy(store.list(f"{prefix}/shards")[0], f"{prefix}/shards/00000-ffffffffffffffff.tar")
        store.put(f"{prefix}/index/00007.parquet", b"PAR1")
        store.put(f"{prefix}/ledger/00007.parquet", b"PAR1")
        store.put(f"annotations/{'a' * 64}/00000.parquet", b"PAR1")
    store.now += 2 * DAY
    return store


def test_garbage_goes_with_its_older_versions_and_without_markers(bucket: VersionedStore) -> None:
    before = {stored.key for stored in bucket.entries("")}
    found = garbage(bucket, older_than=DAY)
    assert len(found) == 4
    bucket.histories.clear()
    assert collect(bucket, found) == 4
    assert len(bucket.histories) == 4  # a folder each
    assert {stored.key for stored in bucket.history("")} == before - kinds(found)
    assert all(stored.current and not stored.marker for stored in bucket.history(""))
    assert garbage(bucket, older_than=0) == [] and verify(bucket, "demo", "v1", deep=True) == []


def test_what_was_only_deleted_is_found_behind_its_marker(bucket: VersionedStore) -> None:
    collect(bucket, garbage(bucket, older_than=DAY))
    deleted = ["datasets/demo/v0/shards/00000-ffffffffffffffff.tar", "datasets/demo/v0/receipts/00000.json"]
    for key in (*deleted, "runs/r/attempts/0001.json"):
        bucket.put(key, b"footage")
        bucket.delete(key)
    assert garbage(bucket, older_than=DAY) == []
    bucket.now += 2 * DAY
    found = garbage(bucket, older_than=DAY)
    assert kinds(found) == set(deleted)
    assert by_reason(found) == {"older versions of what was deleted": (2, 14)}
    bucket.put(deleted[0], b"again")  # by a rerun
    assert collect(bucket, found) == 1 and bucket.get(deleted[0]) == b"again"
    assert not bucket.history("datasets/demo/v0/receipts")


def test_a_shard_that_comes_again_keeps_its_bytes_in_a_bucket_with_versions(bucket: VersionedStore) -> None:
    found = garbage(bucket, older_than=DAY)
    again = next(each.stored.key for each in found if each.stored.key.endswith("ffff.tar"))
    bucket.put(again, b"again")
    assert collect(bucket, found) == 3 and bucket.get(again) == b"again"
