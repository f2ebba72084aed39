"""Records found by their key, whatever the order of their rows."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.dataset.rows import ByKey, Rows, joined
from deemo_dist.records import Annotation
from deemo_dist.records.sample import ANNOTATION_SCHEMA


def by_key(keys: list[str]) -> ByKey[Annotation]:
    rows = [{"key": key, "labels": {}, "texts": {}, "nfbl": [], "transcript": str(n)} for n, key in enumerate(keys)]
    return ByKey(Rows(Annotation, pa.Table.from_pylist(rows, schema=ANNOTATION_SCHEMA), "a table"))


@given(st.lists(st.text(max_size=4), max_size=20), st.booleans())
@settings(deadline=None)
def test_every_key_is_found_and_no_other(keys: list[str], ordered: bool) -> None:
    keys = sorted(keys) if ordered else keys
    found, places = by_key(keys), {key: number for number, key in enumerate(keys)}
    assert {key: found.place(key) for key in keys} == places
    assert list(found) == keys and len(found) == len(keys)
    for other in ("", "a", "zzzzz", *(key + "x" for key in keys)):
        assert (other in found) == (other in places)


@pytest.mark.parametrize("keys", [["a", "b", "b", "d"], ["d", "b", "a", "b"]])
def test_records_are_found_all_at_once(keys: list[str]) -> None:
    """Of those with one key the last counts."""
    found = by_key(keys)
    assert found.places(["d", "b", "a", "b"]).tolist() == [found.place(key) for key in ("d", "b", "a", "b")]
    last = str(max(number for number, key in enumerate(keys) if key == "b"))
    assert [row.transcript for row in found.at(["b", "b"])] == [last, last]
    assert found.at([]) == [] and by_key([]).at([]) == []
    for missing in (["a", "c"], ["0"], ["e", "a"]):
        with pytest.raises(KeyError, match=r"[c0e]"):
            found.at(missing)


def test_rows_are_read_in_the_order_asked() -> None:
    rows = by_key(["a", "b", "c", "d"]).rows
    assert [row.key for row in rows.at(np.array([3, 0, 3]))] == ["d", "a", "d"] == [rows[n].key for n in (3, 0, -1)]
    assert [row.key for row in rows[1:3]] == ["b", "c"] and rows[4:] == []


def join_in_parts(parts: int, rows: int) -> tuple[int, int, bool]:
    """Join tables that Arrow holds; the most bytes that it held, those of the result, and whether that is right."""
    columns = [{f"c{c}": pa.array(np.arange(rows) * c) for c in range(8)} for _ in range(parts)]
    tables = [pa.table({name: pc.add(values, 1) for name, values in each.items()}) for each in columns]
    table = joined(tables)
    right = not tables and all(column.num_chunks == 1 for column in table.columns)
    right = right and table.column("c3").to_numpy().tolist() == (np.arange(rows) * 3 + 1).tolist() * parts
    return pa.default_memory_pool().max_memory(), table.nbytes, right


def test_tables_are_joined_without_a_second_copy_of_them() -> None:
    """At the peak, one column of eight is there twice. In a process of its own, which holds nothing else."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
        most, held, right = alone.submit(join_in_parts, 4, 50_000).result(60)
    assert right and most < 1.4 * held


def test_a_record_is_made_when_it_is_asked_for() -> None:
    found = by_key(["b", "a", "c"])
    assert found["a"].transcript == "1" and found.get("d") is None
    with pytest.raises(KeyError):
        found["d"]
