"""Decoding by columns gives what decoding by rows gives, and refuses what it refuses."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.dataset import decoding
from deemo_dist.dataset.codec import from_plain
from deemo_dist.dataset.decoding import records
from deemo_dist.digests import plain
from deemo_dist.errors import CorruptDataError
from deemo_dist.records import Annotation, IndexRow, LedgerRow
from deemo_dist.records.sample import ANNOTATION_SCHEMA, INDEX_SCHEMA, LEDGER_SCHEMA
from tests import parts

WORDS = st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3)
EVENTS = st.fixed_dictionaries(
    {
        "start": st.floats(0, 9),
        "end": st.floats(0, 9),
        "type": st.text(max_size=3),
        "score": st.none() | st.floats(0, 1),
    }
)
SAID = st.fixed_dictionaries(
    {
        "key": st.text(max_size=4),
        "labels": WORDS,
        "texts": WORDS,
        "nfbl": st.lists(EVENTS, max_size=3),
        "transcript": st.none() | st.text(max_size=4),
    }
)


def by_rows(kind: type[Any], table: pa.Table) -> list[Any]:
    return [from_plain(kind, row, "a table") for row in table.to_pylist(maps_as_pydicts="strict")]


@given(st.lists(SAID, max_size=6), st.integers(0, 3), st.integers(0, 6))
@settings(deadline=None)
def test_annotations_come_as_by_rows(rows: list[dict[str, Any]], start: int, count: int) -> None:
    """Also those of a part of a table, whose lists do not begin at 0."""
    table = pa.Table.from_pylist(rows, schema=ANNOTATION_SCHEMA).slice(start, count)
    assert records(Annotation, table, "a table") == by_rows(Annotation, table)


def test_index_and_ledger_come_as_by_rows_and_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    index = [plain(parts.row(key=f"{n}", frames=n, subgroup={"hand": "left"} if n % 2 else {})) for n in range(5)]
    ledger = [plain(LedgerRow(key="a", unit=1, status="written", shard="s", offset=512))]
    ledger += [plain(LedgerRow(key="b", unit=1, status="rejected", stage="probe", reason="empty"))]
    tables = [(IndexRow, pa.Table.from_pylist(index, schema=INDEX_SCHEMA))]
    tables += [(IndexRow, tables[0][1].slice(2, 2)), (IndexRow, pa.concat_tables([tables[0][1]] * 2))]
    expected = [by_rows(kind, table) for kind, table in tables]
    ledger_table = pa.Table.from_pylist(ledger, schema=LEDGER_SCHEMA)
    assert records(LedgerRow, ledger_table, "a table") == by_rows(LedgerRow, ledger_table)
    monkeypatch.setattr(decoding, "from_plain", None)
    assert [records(kind, table, "a table") for kind, table in tables] == expected


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("frames", pa.array([None], pa.int64())),
        ("frames", pa.array(["9"])),
        ("subgroup", pa.array([None], INDEX_SCHEMA.field("subgroup").type)),
        ("members", pa.array([None], INDEX_SCHEMA.field("members").type)),
        ("key", None),
    ],
)
def test_a_row_that_is_no_record_is_refused(column: str, values: pa.Array | None) -> None:
    table = pa.Table.from_pylist([plain(parts.row())], schema=INDEX_SCHEMA)
    number = table.schema.get_field_index(column)
    table = table.remove_column(number) if values is None else table.set_column(number, column, values)
    with pytest.raises(CorruptDataError, match="a table: not a valid"):
        records(IndexRow, table, "a table")


def test_a_sample_without_an_attestation_is_left_to_its_reader() -> None:
    table = pa.Table.from_pylist([{**plain(parts.row()), "attestation": None}], schema=INDEX_SCHEMA)
    (row,) = records(IndexRow, table, "a table")
    assert row.attestation is None
