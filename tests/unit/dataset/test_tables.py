"""Tables written as their rows come are the tables that all rows at once would give."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.dataset import tables
from deemo_dist.dataset.opened import read_parts
from deemo_dist.dataset.tables import PartWriter, SortedRows
from deemo_dist.digests import digest_of_rows, plain
from deemo_dist.records import Annotation, LedgerRow, NfblEvent
from deemo_dist.records.sample import ANNOTATION_SCHEMA, LEDGER_SCHEMA
from deemo_dist.storage import Store


def ledger(count: int) -> list[LedgerRow]:
    return [LedgerRow(key=f"{number:032x}", unit=number, status="written") for number in range(count)]


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 11, 30, 47])
@pytest.mark.parametrize("at_once", [1, 4, 25])
def test_parts_are_full_but_the_last_and_hold_every_row_in_order(
    store: Store, monkeypatch: pytest.MonkeyPatch, rows: int, at_once: int
) -> None:
    monkeypatch.setattr(tables, "PART_ROWS", 10)
    monkeypatch.setattr(tables, "BATCH", 3)
    said, writer = ledger(rows), PartWriter(store, LEDGER_SCHEMA, lambda part: f"t/{part}.parquet")
    for start in range(0, rows, at_once):
        writer.add([plain(row) for row in said[start : start + at_once]])
    parts = writer.finish()
    assert [part.rows for part in parts[:-1]] == [10] * (len(parts) - 1) and 0 <= parts[-1].rows <= 10
    assert [part.key for part in parts] == store.list("t") and len(parts) == max(1, -(-rows // 10))
    assert list(read_parts(store, LedgerRow, parts, LEDGER_SCHEMA)) == said


@given(order=st.integers(0, 10**6))
def test_sorted_rows_have_the_digest_of_the_records(order: int) -> None:
    said = [
        Annotation(
            key=f"{number:032x}",
            labels={"b": "1", "a": str(number)},
            texts={},
            nfbl=(NfblEvent(start=number / 3, end=2.0, type="fist"),),
            transcript=None if number % 2 else "ja, ü",
        )
        for number in range(12)
    ]
    mixed: list[Any] = [plain(row) for row in said]
    random.Random(order).shuffle(mixed)
    rows = SortedRows(ANNOTATION_SCHEMA)
    for start in range(0, 12, 5):
        rows.add(mixed[start : start + 5])
    table, digest = rows.finish()
    assert digest == digest_of_rows(said) and table.column("key").to_pylist() == [row.key for row in said]
