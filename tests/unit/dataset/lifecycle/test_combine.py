"""Merge and filter: every clip once, bytes and digests kept, one policy, nobody in two splits."""

import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deemo_dist.dataset import commit_unit, compact, dataset_prefix, load_member, open_dataset, plan_units, verify
from deemo_dist.dataset.lifecycle.combine import merge, select
from deemo_dist.dataset.lifecycle.suppression import Row, read_suppressed, suppress, token_of
from deemo_dist.dataset.lifecycle.versions import COMMITTED, UNFINISHED, list_versions, named
from deemo_dist.errors import CorruptDataError, DatasetError
from deemo_dist.records import Clip
from deemo_dist.storage import Store


def dataset(made: Any, store: Store, version: str, clips: list[Clip], rejected: Any = (), **header: Any) -> None:
    units = plan_units(clips, 4000)
    for unit in units:
        commit_unit(store, dataset_prefix("demo", version), *made.receipt(unit, rejected))
    compact(store, "demo", version, units, replace(made.header(units), **header))


def test_a_merge_holds_every_clip_once_and_the_same_bytes(store: Store, made: Any) -> None:
    clips = made.clips(18)
    dataset(made, store, "a", clips[:9], rejected={clips[1].uri})
    dataset(made, store, "b", clips[9:], rejected={clip.uri for clip in clips[9:12]}, manifest_digest="n" * 64)
    info = merge(store, [("demo", "a"), ("demo", "b")], ("both", "v1"))
    assert (info.clips, info.samples, info.rejected) == (18, 14, 4) and verify(store, "both", "v1", deep=True) == []
    new = open_dataset(store, "both", "v1")
    assert sorted(row.key for row in new.ledger) == sorted(made.key(clip.uri) for clip in clips)
    for version in ("a", "b"):
        old = open_dataset(store, "demo", version)
        places = {row.key: row for row in new.index}
        for row in old.index:
            assert load_member(places[row.key], store, new.prefix, "mp4") == load_member(row, store, old.prefix, "mp4")
            assert new.annotations[row.key] == old.annotations[row.key]
    assert info.header.derived is not None and info.header.derived.names == ("demo",)
    again = merge(store, [("demo", "a"), ("demo", "b")], ("both", "v1"))
    assert again == info
    assert [(each.label, each.state) for each in list_versions(store)] == [
        ("both/v1", COMMITTED),
        ("demo/a", COMMITTED),
        ("demo/b", COMMITTED),
    ]


def test_what_cannot_be_merged(store: Store, made: Any) -> None:
    clips = made.clips(12)
    dataset(made, store, "a", clips[:9])
    dataset(made, store, "b", clips[6:])
    with pytest.raises(DatasetError, match="3 clips stand in more than one"):
        merge(store, [("demo", "a"), ("demo", "b")], ("demo", "c"))
    info = merge(store, [("demo", "a"), ("demo", "b")], ("demo", "c"), first_wins=True)
    assert info.clips == info.samples == 12 and verify(store, "demo", "c", deep=True) == []
    with pytest.raises(DatasetError, match="begun with another"):
        merge(store, [("demo", "b"), ("demo", "a")], ("demo", "c"), first_wins=True)
    with pytest.raises(DatasetError, match="two or more different"):
        merge(store, [("demo", "a"), ("demo", "a")], ("demo", "d"))
    with pytest.raises(DatasetError, match="not there"):
        merge(store, [("demo", "a"), ("demo", "none")], ("demo", "d"))
    moved = [replace(clip, uri=f"file:///raw/other-{n}.mp4", split="validation") for n, clip in enumerate(clips)]
    dataset(made, store, "moved", moved)
    with pytest.raises(DatasetError, match="would be in the splits"):
        merge(store, [("demo", "a"), ("demo", "moved")], ("demo", "d"))
    store.put("datasets/demo/b/receipts/00000.json", store.get("datasets/demo/a/receipts/00000.json"))
    with pytest.raises(CorruptDataError, match="do not have the digest"):
        merge(store, [("demo", "a"), ("demo", "b")], ("demo", "d"))
    for wrong in ("demo", "demo/", "/v1", "a/b/c", "../x/y", "demo/v 1"):
        with pytest.raises(DatasetError):
            named(wrong)


def test_another_policy_is_refused(store: Store, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = made.clips(6)
    dataset(made, store, "a", clips[:3])
    key = "datasets/demo/a/dataset.json"
    dataset(made, store, "b", clips[3:])
    store.put(key, store.get(key).replace(b"p" * 64, b"q" * 64))
    with pytest.raises(DatasetError, match=r"qqqqqqqqqqqq.*pppppppppppp"):
        merge(store, [("demo", "a"), ("demo", "b")], ("demo", "c"))


def test_whoever_withdrew_does_not_come_back(store: Store, made: Any) -> None:
    clips = made.clips(18)
    dataset(made, store, "a", clips[:9])
    dataset(made, store, "b", clips[9:])
    person = made.key("subject 1")
    suppress(store, "k" * 16, [token_of("subject", person), token_of("sample", made.key(clips[10].uri))])
    suppress(store, "k" * 16, [Row("person", "0" * 64)])
    assert len(read_suppressed(store, "k" * 16).rows) == 3
    listed = store.list("suppressed/kkkkkkkkkkkkkkkk")
    assert len(listed) == 2 and all(person.encode() not in store.get(key) for key in listed)
    info = merge(store, [("demo", "a"), ("demo", "b")], ("demo", "c"))
    gone = {made.key(clip.uri) for clip in (*clips[3:6], clips[10])}
    assert info.clips == 14 and info.header.derived is not None and info.header.derived.erased == 4
    assert {row.key for row in open_dataset(store, "demo", "c").ledger}.isdisjoint(gone)
    assert verify(store, "demo", "c", deep=True) == []
    filtered = select(store, ("demo", "a"), ("demo", "d"), lambda row: True, "frames > 0")
    assert filtered.clips == 6


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bits=st.lists(st.booleans(), min_size=9, max_size=9))
def test_a_filter_keeps_what_fulfils_it_and_accounts_for_the_rest(store: Store, made: Any, bits: list[bool]) -> None:
    clips = made.clips(9)
    version = f"v{uuid.uuid4().hex[:12]}"  # one store for all examples
    dataset(made, store, version, clips, rejected={clips[0].uri})
    wanted = {made.key(clip.uri) for clip, bit in zip(clips[1:], bits[1:], strict=True) if bit}
    if not wanted:
        with pytest.raises(DatasetError, match="no sample"):
            select(store, ("demo", version), ("demo", f"{version}-f"), lambda row: False, "frames < 0")
        return
    into = ("demo", f"{version}-f")
    info = select(store, ("demo", version), into, lambda row: row.key in wanted, "whatever")
    assert info.clips == 9 and info.samples == len(wanted) and verify(store, *into, deep=True) == []
    new = open_dataset(store, *into)
    assert {row.key for row in new.index} == wanted == set(new.annotations)
    stages = {row.key: row.stage for row in new.ledger if row.status == "rejected"}
    assert stages.pop(made.key(clips[0].uri)) == "decode" and set(stages.values()) <= {"filter"}


def test_what_filters_took_apart_is_whole_again_when_merged(store: Store, made: Any) -> None:
    clips = made.clips(9)
    dataset(made, store, "a", clips, rejected={clips[0].uri})
    for name, slow in (("low", True), ("high", False)):
        select(store, ("demo", "a"), ("demo", name), lambda row, slow=slow: (row.key < "8") is slow, name)
    info = merge(store, [("demo", "low"), ("demo", "high")], ("demo", "again"))
    assert (info.clips, info.samples, info.rejected) == (9, 8, 1) and verify(store, "demo", "again", deep=True) == []
    stages = [row.stage for row in open_dataset(store, "demo", "again").ledger if row.status == "rejected"]
    assert stages == ["decode"]


def test_a_damaged_member_is_not_carried_on(store: Store, made: Any) -> None:
    clips = made.clips(3)
    dataset(made, store, "a", clips)
    shard = store.list("datasets/demo/a/shards")[0]
    data = bytearray(store.get(shard))
    data[700] ^= 1
    store.put(shard, bytes(data))
    first = open_dataset(store, "demo", "a").index[0].key
    with pytest.raises(CorruptDataError, match="digest of the index"):
        select(store, ("demo", "a"), ("demo", "b"), lambda row: row.key == first, "x")
    assert [each.state for each in list_versions(store)] == [COMMITTED, UNFINISHED]
