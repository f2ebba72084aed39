"""Whatever two of index, ledger, annotations, receipts and shards say differently is found."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deemo_dist.dataset import ShardWriter, open_dataset, plan_units, read_receipt, verify
from deemo_dist.dataset.codec import parse_json, to_parquet
from deemo_dist.dataset.layout import receipt_key, shard_key
from deemo_dist.dataset.lengths import write_lengths
from deemo_dist.dataset.lifecycle.derive import read_sample
from deemo_dist.dataset.receipts import encode_receipt
from deemo_dist.dataset.verify_shards import shard_problems
from deemo_dist.digests import canonical_json, digest_of, digest_of_rows, sha256_bytes
from deemo_dist.records.sample import ANNOTATION_SCHEMA, INDEX_SCHEMA, LEDGER_SCHEMA
from deemo_dist.storage import Store

PREFIX = "datasets/demo/v1"
SCHEMAS = {"index": INDEX_SCHEMA, "ledger": LEDGER_SCHEMA, "annotations": ANNOTATION_SCHEMA}


@pytest.fixture
def whole(made: Any, store: Store) -> Store:
    clips = made.clips(9)
    made.dataset(store, plan_units(clips, 3000), {clips[1].uri})
    assert verify(store, "demo", "v1", deep=True) == []
    return store


def rewritten(store: Store, table: str, change: Callable[[list[Any]], Sequence[Any]]) -> None:
    """Write a table anew, and its digest into dataset.json, as somebody does who wants it not to be seen."""
    dataset = open_dataset(store, "demo", "v1")
    rows: Any = dataset.annotations.rows if table == "annotations" else getattr(dataset, table)
    changed = change(list(rows))
    data = to_parquet(changed, SCHEMAS[table])
    info = json.loads(store.get(f"{PREFIX}/dataset.json"))
    info[table][0].update(sha256=sha256_bytes(data), rows=len(changed))
    if table == "annotations":
        info["annotations_digest"] = digest_of_rows(changed)
    store.put(info[table][0]["key"], data)
    store.put(f"{PREFIX}/dataset.json", json.dumps(info).encode())


def fifth(**changes: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda rows: [*rows[:5], replace(rows[5], **changes), *rows[6:]]


@pytest.mark.parametrize(
    ("table", "changes"),
    [
        ("index", {"split": "test"}),
        ("index", {"subject_key": "f" * 32}),
        ("index", {"frames": 99}),
        ("index", {"audio_seconds": 0.125}),
        ("index", {"subgroup": {"hand": "both"}}),
        ("index", {"unit": 0}),
        ("ledger", {"unit": 0}),
        ("annotations", {"labels": {"emotion": "neutral"}}),
        ("annotations", {"transcript": "he never said that"}),
    ],
)
def test_one_field_of_one_row_is_found_and_named(whole: Store, table: str, changes: dict[str, Any]) -> None:
    rewritten(whole, table, fifth(**changes))
    (problem,) = verify(whole, "demo", "v1")
    assert problem.startswith(f"{table}: ") and f"has another {next(iter(changes))} than in the receipt" in problem


def test_members_of_an_index_row_are_found(whole: Store) -> None:
    def shift(rows: list[Any]) -> list[Any]:
        members = tuple(replace(each, offset=each.offset + 512, blake3="0" * 64) for each in rows[5].members[1:])
        return fifth(members=(rows[5].members[0], *members))(rows)

    rewritten(whole, "index", shift)
    (problem,) = verify(whole, "demo", "v1")
    assert "has another members than in the receipt" in problem


def test_an_attestation_of_the_index_is_found(whole: Store) -> None:
    rewritten(
        whole, "index", lambda rows: fifth(attestation=replace(rows[5].attestation, residual_face_rate=0.5))(rows)
    )
    assert ["has another attestation" in problem for problem in verify(whole, "demo", "v1")] == [True]


def test_rows_that_are_lost_added_or_moved_are_found(whole: Store, made: Any) -> None:
    rewritten(whole, "annotations", lambda rows: rows[:-1])
    found = " | ".join(verify(whole, "demo", "v1"))
    assert "annotations: there is no row" in found and "7 rows, where the receipts have 8" in found
    rewritten(whole, "annotations", lambda rows: [*rows, replace(rows[0], key="e" * 32)])
    assert "1 annotations belong to no sample" in " | ".join(verify(whole, "demo", "v1"))


def test_rows_in_another_order_are_found(whole: Store) -> None:
    rewritten(whole, "index", lambda rows: rows[::-1])
    found = verify(whole, "demo", "v1")
    assert found and all("are not at their place" in problem for problem in found)


def test_with_a_receipt_lost_the_rest_is_still_compared(whole: Store) -> None:
    whole.delete(receipt_key(PREFIX, 0))
    found = verify(whole, "demo", "v1")
    assert [problem.partition(":")[0] for problem in found] == ["unit 0 has no readable receipt"]
    rewritten(whole, "index", fifth(split="test"))
    assert any("has another split than in" in problem for problem in verify(whole, "demo", "v1"))


def test_a_receipt_that_was_changed_has_another_digest(whole: Store) -> None:
    receipt = read_receipt(whole, PREFIX, 1)
    index = (replace(receipt.index[0], split="validation"), *receipt.index[1:])
    whole.put(receipt_key(PREFIX, 1), encode_receipt(replace(receipt, index=index)))
    found = " | ".join(verify(whole, "demo", "v1"))
    assert "do not have the digest that dataset.json names" in found and "has another split" in found


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("split", "validation"),
        ("subject_key", "f" * 32),
        ("frames", 3),
        ("transcript", "more"),
        ("subgroup", {}),
        ("key", ""),
    ],
)
def test_a_sample_that_says_otherwise_than_its_row_is_found(whole: Store, field: str, value: Any) -> None:
    """A shard made anew with a right receipt, but for one word of a sample's JSON."""
    receipt = read_receipt(whole, PREFIX, 2)
    writer = ShardWriter(2)
    for row in receipt.index:
        files = read_sample(whole, PREFIX, row)
        files["json"] = canonical_json({**parse_json(files["json"], row.key), field: value})
        writer.add(row.key, files)
    shard = writer.finish()
    assert shard is not None
    whole.put_chunks(shard_key(PREFIX, shard.tar.name), shard.chunks)
    index = tuple(replace(row, shard=shard.tar.name, members=shard.members[row.key]) for row in receipt.index)
    found = shard_problems(whole, PREFIX, replace(receipt, tar=shard.tar, index=index), deep=True)
    assert len(found) == len(index) and all(f"says another {field} than its index row" in each for each in found)


def test_damaged_tables_of_lengths_and_plans_are_found(whole: Store) -> None:
    info = open_dataset(whole, "demo", "v1").info
    columns = [np.arange(8) + 1] * 4
    write_lengths(whole, "lengths/ours.parquet", columns, dataset_digest=info.dataset_digest)
    write_lengths(whole, "lengths/theirs.parquet", columns, dataset_digest="another")
    packs = {"packs": [3, 4], "packs_digest": digest_of([3, 4])}
    whole.put("plans/p/windows.json", canonical_json({**packs, "measured": ["ours"]}))
    whole.put("plans/q/windows.json", canonical_json({"packs": [], "measured": ["theirs"]}))
    assert verify(whole, "demo", "v1") == []
    whole.put("plans/p/windows.json", canonical_json({**packs, "packs": [3, 5], "measured": ["ours"]}))
    table = pq.read_table(pa.BufferReader(whole.get("lengths/ours.parquet")))
    sink = pa.BufferOutputStream()
    pq.write_table(table.set_column(1, "targets", pa.array([9] * 8, pa.int32())).cast(table.schema), sink)
    whole.put("lengths/ours.parquet", sink.getvalue().to_pybytes())
    whole.put("lengths/rubbish.parquet", b"rubbish")
    lengths, rubbish, plan = verify(whole, "demo", "v1")
    assert lengths.startswith("lengths/ours.parquet: its lengths do not have the digest")
    assert rubbish.startswith("lengths/rubbish.parquet: not a readable table")
    assert plan.startswith("plans/p/windows.json: its counts are not those it names")
