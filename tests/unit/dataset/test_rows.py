"""Records found by their key, whatever the order of their rows."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.dataset.rows import ByKey, Rows
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


def test_a_record_is_made_when_it_is_asked_for() -> None:
    found = by_key(["b", "a", "c"])
    assert found["a"].transcript == "1" and found.get("d") is None
    with pytest.raises(KeyError):
        found["d"]
