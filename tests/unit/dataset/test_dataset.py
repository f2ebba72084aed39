"""Compacting, opening and verifying a dataset."""

import json
from dataclasses import replace
from typing import Any

import pytest

from deemo_dist.dataset import begin_version, commit_unit, compact, ledger_totals, open_dataset, plan_units, verify
from deemo_dist.dataset.codec import from_plain, to_parquet
from deemo_dist.dataset.info import DatasetHeader
from deemo_dist.digests import plain, sha256_bytes
from deemo_dist.errors import CorruptDataError, DatasetError
from deemo_dist.records.sample import INDEX_SCHEMA
from deemo_dist.storage import Store

PREFIX = "datasets/demo/v1"


def test_every_clip_ends_in_one_row(made: Any, store: Store) -> None:
    clips = made.clips(17)
    units = plan_units(clips, 4000)
    rejected = {clips[2].uri, *(clip.uri for clip in units[1].clips)}
    info = made.dataset(store, units, rejected)
    dataset = open_dataset(store, "demo", "v1")
    assert sorted(row.key for row in dataset.ledger) == sorted(made.key(clip.uri) for clip in clips)
    assert info.clips == 17 == info.samples + info.rejected
    assert info.shards == len(units) - 1
    assert {row.key for row in dataset.index} == dataset.annotations.keys()
    assert ledger_totals(dataset.ledger) == {"decode: empty": info.rejected, "written": info.samples}
    assert verify(store, "demo", "v1", deep=True) == []
    assert b"clip-" not in store.get(f"{PREFIX}/dataset.json")


def test_compacting_again_changes_nothing(made: Any, store: Store) -> None:
    units = plan_units(made.clips(5), 3000)
    info = made.dataset(store, units)
    before = {key: store.get(key) for key in store.list("datasets")}
    assert compact(store, "demo", "v1", units, made.header(units)) == info
    assert {key: store.get(key) for key in store.list("datasets")} == before


def test_the_digest_is_of_rows_not_of_statistics(made: Any, tmp_path: Any) -> None:
    from deemo_dist.config import StorageConfig
    from deemo_dist.storage import open_store

    units = plan_units(made.clips(5), 3000)
    infos = [
        made.dataset(open_store(StorageConfig(root=f"file://{tmp_path / name}")), units, **extra)
        for name, extra in (("a", {"seconds": 1.0}), ("b", {"seconds": 9.0, "toolchain": "other"}))
    ]
    assert infos[0].dataset_digest == infos[1].dataset_digest
    other = made.dataset(open_store(StorageConfig(root=f"file://{tmp_path / 'c'}")), units, {units[0].clips[0].uri})
    assert other.dataset_digest != infos[0].dataset_digest


def test_a_missing_receipt_is_said(made: Any, store: Store) -> None:
    units = plan_units(made.clips(9), 3000)
    commit_unit(store, PREFIX, *made.receipt(units[0]))
    with pytest.raises(DatasetError, match=rf"{len(units) - 1} of {len(units)} units have no receipt \(first: 1\)"):
        compact(store, "demo", "v1", units, made.header(units))
    with pytest.raises(DatasetError, match="not complete"):
        open_dataset(store, "demo", "v1")


def test_a_version_is_begun_once(made: Any, store: Store) -> None:
    header = made.header(plan_units(made.clips(3), 3000))
    assert begin_version(store, "demo", "v1", header)
    assert not begin_version(store, "demo", "v1", header)
    with pytest.raises(DatasetError, match="begun with another policy_digest"):
        begin_version(store, "demo", "v1", replace(header, policy_digest="other"))
    with pytest.raises(DatasetError, match="begun with another order"):  # units cut otherwise never meet in a version
        begin_version(store, "demo", "v1", replace(header, order="key"))
    with pytest.raises(DatasetError, match="cannot be a name"):
        begin_version(store, "../up", "v1", header)


def test_a_version_of_before_says_that_its_order_is_the_manifests(made: Any, store: Store) -> None:
    header = made.header(plan_units(made.clips(3), 3000))
    said = {name: value for name, value in plain(header).items() if name != "order"}
    assert from_plain(DatasetHeader, said, "header").order == "manifest"


def test_a_weak_policy_is_refused_unless_allowed(made: Any, store: Store) -> None:
    made.dataset(store, plan_units(made.clips(3), 3000), strength="weak")
    with pytest.raises(DatasetError, match="weak policy"):
        open_dataset(store, "demo", "v1")
    assert len(open_dataset(store, "demo", "v1", allow_weak=True).index) == 3


@pytest.mark.parametrize("change", [None, "weak", "other policy"])
def test_a_sample_without_its_attestation_is_refused(made: Any, store: Store, change: str | None) -> None:
    made.dataset(store, plan_units(made.clips(3), 3000))
    attestation = {
        None: None,
        "weak": made.attestation(strength="weak"),
        "other policy": made.attestation(policy_digest="q" * 64),
    }[change]
    index = list(open_dataset(store, "demo", "v1").index)
    index[1] = replace(index[1], attestation=attestation)
    data = to_parquet(index, INDEX_SCHEMA)
    info = json.loads(store.get(f"{PREFIX}/dataset.json"))
    info["index"][0]["sha256"] = sha256_bytes(data)
    store.put(info["index"][0]["key"], data)
    store.put(f"{PREFIX}/dataset.json", json.dumps(info).encode())
    with pytest.raises(DatasetError, match=r"attestation|weak|another policy"):
        open_dataset(store, "demo", "v1")


@pytest.mark.parametrize(("field", "value"), [("format", 9), ("versions", {"index": 9})])
def test_newer_formats_are_refused(made: Any, store: Store, field: str, value: Any) -> None:
    made.dataset(store, plan_units(made.clips(3), 3000))
    info = json.loads(store.get(f"{PREFIX}/dataset.json"))
    store.put(f"{PREFIX}/dataset.json", json.dumps({**info, field: value}).encode())
    with pytest.raises(DatasetError, match="of format 9"):
        open_dataset(store, "demo", "v1")


def test_verify_finds_what_was_damaged(made: Any, store: Store) -> None:
    units = plan_units(made.clips(9), 3000)
    made.dataset(store, units)
    first, second, *_ = sorted(store.list(f"{PREFIX}/shards"))
    data = store.get(first)
    store.put(first, data[:700] + bytes([data[700] ^ 1]) + data[701:])
    assert verify(store, "demo", "v1") == []
    problems = verify(store, "demo", "v1", deep=True)
    assert any("its bytes do not have the receipt's digest" in problem for problem in problems)
    assert any(".mp4 is not what the index says" in problem for problem in problems)
    store.put(first, data[:-1])
    store.delete(second)
    store.delete(f"{PREFIX}/receipts/00002.json")
    found = " | ".join(verify(store, "demo", "v1"))
    assert "bytes instead of" in found
    assert f"{second} is missing" in found
    assert "unit 2 has no readable receipt" in found


def test_damaged_tables_are_found_by_their_digest(made: Any, store: Store) -> None:
    made.dataset(store, plan_units(made.clips(3), 3000))
    key = f"{PREFIX}/ledger/00000.parquet"
    store.put(key, store.get(key)[:-1])
    with pytest.raises(CorruptDataError, match="ledger"):
        open_dataset(store, "demo", "v1")
    assert any("ledger" in problem for problem in verify(store, "demo", "v1"))
    store.delete(key)
    with pytest.raises(CorruptDataError, match="missing"):
        open_dataset(store, "demo", "v1")
