"""What a reader refuses: weak policies, others than a run's, attestations that claim too much, formats too old."""

import hashlib
import io
import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deemo_dist.dataset import open_dataset, plan_units, read_receipt, shards, verify
from deemo_dist.dataset.codec import encode_table, to_parquet
from deemo_dist.dataset.lifecycle.derive import DamagedSampleError, read_sample
from deemo_dist.digests import plain, sha256_bytes
from deemo_dist.errors import CorruptDataError, DatasetError
from deemo_dist.records import IndexRow, Member
from deemo_dist.records.receipt import TarReceipt
from deemo_dist.records.sample import INDEX_SCHEMA
from deemo_dist.storage import Store

PREFIX = "datasets/demo/v1"


def rewrite(store: Store, **changes: Any) -> None:
    """Change ``dataset.json``."""
    info = json.loads(store.get(f"{PREFIX}/dataset.json"))
    store.put(f"{PREFIX}/dataset.json", json.dumps({**info, **changes}).encode())


def put_index(store: Store, rows: list[IndexRow]) -> None:
    """Put another index in place, with its digest."""
    data = to_parquet(rows, INDEX_SCHEMA)
    (part,) = json.loads(store.get(f"{PREFIX}/dataset.json"))["index"]
    store.put(part["key"], data)
    rewrite(store, index=[{**part, "sha256": sha256_bytes(data)}])


def test_a_policy_that_the_run_does_not_allow_is_refused(made: Any, store: Store) -> None:
    made.dataset(store, plan_units(made.clips(3), 3000))
    asked: list[str] = []

    def own(key_id: str) -> str:
        asked.append(key_id)
        return "p" * 64

    assert len(open_dataset(store, "demo", "v1", allowed=own).index) == 3
    assert verify(store, "demo", "v1", allowed=own) == []
    assert asked == ["k" * 16] * 2
    for reader in (open_dataset, verify):
        with pytest.raises(DatasetError, match=r"another policy .*standard.* than the run allows") as caught:
            reader(store, "demo", "v1", allowed=lambda key_id: "q" * 64)
        assert "\n" not in str(caught.value)


def test_a_ledger_that_is_not_asked_for_is_not_read(made: Any, store: Store) -> None:
    made.dataset(store, plan_units(made.clips(3), 3000))
    (part,) = json.loads(store.get(f"{PREFIX}/dataset.json"))["ledger"]
    store.put(part["key"], b"damaged")
    dataset = open_dataset(store, "demo", "v1", ledger=False)
    assert len(dataset.index) == 3
    for reader in (lambda: dataset.ledger, lambda: open_dataset(store, "demo", "v1")):
        with pytest.raises(CorruptDataError, match="ledger"):
            reader()


def test_a_weak_dataset_is_refused_with_its_reasons(made: Any, store: Store) -> None:
    made.dataset(store, plan_units(made.clips(3), 3000), strength="weak")
    header = json.loads(store.get(f"{PREFIX}/dataset.json"))["header"]
    rewrite(store, header={**header, "weaknesses": ["faces are blurred, which links them"]})
    for reader in (open_dataset, verify):
        with pytest.raises(DatasetError, match="not de-identified; faces are blurred, which links them"):
            reader(store, "demo", "v1")
    assert verify(store, "demo", "v1", allow_weak=True) == []


@pytest.mark.parametrize("change", [{"faces": "blur"}, {"captions": "keep"}])
def test_one_sample_of_less_is_refused_whatever_it_claims(made: Any, store: Store, change: dict[str, Any]) -> None:
    made.dataset(store, plan_units(made.clips(3), 3000))
    rows = list(open_dataset(store, "demo", "v1").index)
    put_index(store, [*rows[:2], replace(rows[2], attestation=replace(rows[2].attestation, **change))])
    with pytest.raises(DatasetError, match="weak"):
        open_dataset(store, "demo", "v1")
    assert any("weak" in problem for problem in verify(store, "demo", "v1"))
    assert len(open_dataset(store, "demo", "v1", allow_weak=True).index) == 3


def test_a_format_that_could_not_attest_captions_is_named(made: Any, store: Store) -> None:
    made.dataset(store, plan_units(made.clips(3), 3000))
    versions = json.loads(store.get(f"{PREFIX}/dataset.json"))["versions"]
    rewrite(store, versions={**versions, "index": 1})
    for reader in (open_dataset, verify):
        with pytest.raises(DatasetError, match=r"index of format 1.*captions.*data\.version"):
            reader(store, "demo", "v1", allow_weak=True)


def test_an_older_dataset_is_held_by_the_digests_it_has(
    made: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(shards, "blake3_bytes", sha256_bytes)
        before.setattr(shards, "blake3", hashlib.sha256)
        before.setattr(shards, "Member", lambda *, blake3, **place: Member(**place, sha256=blake3))
        before.setattr(shards, "TarReceipt", lambda *, blake3, **place: TarReceipt(**place, sha256=blake3))
        made.dataset(store, plan_units(made.clips(3), 3000))
    row = open_dataset(store, "demo", "v1").index[0]
    assert set(plain(row)["members"][0]) == {"extension", "offset", "size", "sha256"}
    tar = read_receipt(store, PREFIX, row.unit).tar
    assert tar is not None and set(plain(tar)) == {"name", "size", "sha256"} and tar.digest == tar.sha256
    as_format_two(store)
    assert open_dataset(store, "demo", "v1").index[0] == row
    assert verify(store, "demo", "v1", deep=True) == []
    assert set(read_sample(store, PREFIX, row)) == {member.extension for member in row.members}

    key = f"{PREFIX}/shards/{row.shard}"
    damaged = bytearray(store.get(key))
    damaged[row.members[0].offset] ^= 1
    store.put(key, bytes(damaged))
    with pytest.raises(DamagedSampleError, match="does not have the digest of the index"):
        read_sample(store, PREFIX, row)
    assert any(row.members[0].extension in problem for problem in verify(store, "demo", "v1", deep=True))


def as_format_two(store: Store) -> None:
    """Write the index as it was before members had a BLAKE3 digest."""
    info = json.loads(store.get(f"{PREFIX}/dataset.json"))
    (part,) = info["index"]
    table = pq.read_table(io.BytesIO(store.get(part["key"])))
    rows = table.to_pylist(maps_as_pydicts="strict")
    for member in [member for row in rows for member in row["members"]]:
        assert member.pop("blake3") is None
    place = table.schema.get_field_index("members")
    old = pa.list_(pa.struct([each for each in table.schema.field(place).type.value_type if each.name != "blake3"]))
    schema = table.schema.set(place, pa.field("members", old))
    schema = schema.with_metadata({**table.schema.metadata, b"deemo.version": b"2"})
    data = encode_table(pa.Table.from_pylist(rows, schema=schema))
    store.put(part["key"], data)
    rewrite(
        store, index=[{**part, "sha256": sha256_bytes(data)}], versions={**info["versions"], "index": 2, "receipt": 1}
    )
