"""Templates over columns say what templates over single annotations say."""

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.dataset import open_dataset, plan_units
from deemo_dist.dataset.columns import filled, shows_text
from deemo_dist.dataset.fields import fill, fill_prompt
from deemo_dist.dataset.rows import Rows
from deemo_dist.digests import plain
from deemo_dist.records import Annotation, LedgerRow, NfblEvent
from deemo_dist.records.sample import ANNOTATION_SCHEMA
from deemo_dist.storage import Store

WORDS = st.sampled_from(["", "joy", "a {b", "né"])
EVENT = st.builds(NfblEvent, start=st.floats(0, 9), end=st.floats(0, 9), type=st.sampled_from(["fist", "neck"]))
SAID = st.builds(
    Annotation,
    key=st.just("k"),
    labels=st.dictionaries(st.sampled_from(["emotion", "other"]), WORDS),
    texts=st.dictionaries(st.sampled_from(["why", "emotion"]), WORDS),
    nfbl=st.lists(EVENT, max_size=3).map(tuple),
    transcript=st.none() | WORDS,
)
TEMPLATE = st.lists(
    st.sampled_from(["{label.emotion}", "{text.why}", "{transcript}", "{nfbl}", "so ", "?", "\n", ""]), max_size=6
).map("".join)


@given(st.lists(SAID, min_size=1, max_size=5), TEMPLATE)
@settings(max_examples=150, deadline=None)
def test_columns_and_single_annotations_agree(said: list[Annotation], template: str) -> None:
    table = pa.Table.from_pylist([plain(row) for row in said], schema=ANNOTATION_SCHEMA)
    assert filled(template, table).to_pylist() == [fill(template, row) for row in said]
    assert shows_text(template, table).to_pylist() == [fill_prompt(template, row, text=True)[1] for row in said]


def test_rows_are_records_whichever_way_they_are_asked_for(made: Any, store: Store) -> None:
    made.dataset(store, plan_units(made.clips(30), 4000), rejected=["file:///raw/clip-3.mp4"])
    dataset = open_dataset(store, "demo", "v1")
    whole = list(dataset.ledger)
    assert isinstance(dataset.ledger, Rows)
    assert [type(row) for row in whole] == [LedgerRow] * 30
    assert [dataset.ledger[number] for number in range(30)] == whole == dataset.ledger[:]
    assert dataset.ledger[-1] == whole[-1]
    assert [row.split for row in dataset.split("test")] == ["test"] * len(dataset.split("test"))
    assert {key: dataset.annotations[key] for key in dataset.annotations} == {
        row.key: row for row in dataset.annotations.rows
    }
