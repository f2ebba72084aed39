"""From annotations to conversations."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deemo_dist.config import TaskConfig
from deemo_dist.dataset import Dataset, build_examples, columns, measure_lengths, open_dataset, plan_units, restrict
from deemo_dist.dataset.lengths import LengthTable, lengths_of_what, read_lengths, write_lengths
from deemo_dist.dataset.overlong import leave_out
from deemo_dist.dataset.packing import Budget
from deemo_dist.dataset.windows import Groups, digest_of_integers
from deemo_dist.digests import sha256_bytes
from deemo_dist.errors import ConfigError, CorruptDataError, DatasetError
from deemo_dist.records import Example, Length
from deemo_dist.storage import Store

EMOTION = TaskConfig(
    prompt="They said: {transcript}\nGestures: {nfbl}\nWhich emotion?",
    answer="{label.emotion}",
    choices=("positive", "negative"),
)
EXPLAIN = TaskConfig(prompt="Why?", answer="{text.reasoning}", modalities=("video",))
TASKS = {"emotion": EMOTION, "explain": EXPLAIN}


@pytest.fixture
def dataset(made: Any, store: Store) -> Dataset:
    made.dataset(store, plan_units(made.clips(12), 4000))
    return open_dataset(store, "demo", "v1")


def test_templates_are_filled_in_and_answers_known(dataset: Dataset) -> None:
    examples = build_examples(dataset, TASKS, ["emotion", "explain"], "train")
    assert len(examples) == 2 * len(dataset.split("train"))
    first, second = examples[:2]
    assert first.turns[0].text == "They said: I say 0\nGestures: neck, fist\nWhich emotion?"
    assert (first.turns[1].role, first.turns[1].text, first.answer) == ("assistant", "negative", "negative")
    assert first.modalities == ("video", "audio", "cues", "text")
    assert (second.turns[1].text, second.answer, second.modalities) == ("because of 0", None, ("video",))


def test_what_a_sample_lacks_is_absent(dataset: Dataset) -> None:
    examples = {
        e.sample.key: e for split in ("train", "test") for e in build_examples(dataset, TASKS, ["emotion"], split)
    }
    rows = list(dataset.index)
    assert "audio" not in examples[rows[2].key].modalities
    assert "cues" not in examples[rows[3].key].modalities
    assert examples[rows[5].key].turns[0].text == "Gestures: neck, fist\nWhich emotion?"


def test_dropping_text_takes_its_lines_out(dataset: Dataset) -> None:
    example = build_examples(dataset, TASKS, ["emotion"], "train")[0]
    bare = restrict(example, ("video",))
    assert (bare.modalities, bare.turns[0].text, bare.turns[1]) == (("video",), "Which emotion?", example.turns[1])
    shown = build_examples(dataset, TASKS, ["emotion"], "train", modalities=("video",))[0]
    assert (shown.turns, shown.modalities) == (bare.turns, bare.modalities)
    assert restrict(example, ("text",)).turns == example.turns


def test_samples_without_an_answer_make_no_example_and_are_counted(
    dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = {
        "other": TaskConfig(prompt="What?", answer="{label.unknown}"),
        "some": replace(EMOTION, choices=("positive",)),
        "text": TaskConfig(prompt="{transcript}\nWhat?", answer="{label.emotion}", modalities=("text",)),
    }
    logging.getLogger("deemo_dist").propagate = True
    with caplog.at_level(logging.INFO, "deemo_dist"):
        assert list(build_examples(dataset, tasks, ["other"], "train")) == []
        assert {e.answer for e in build_examples(dataset, tasks, ["some"], "train")} == {"positive"}
        assert len(build_examples(dataset, tasks, ["text"], "train")) == len(dataset.split("train")) - 2
    assert "10 samples make no example for task other: no value for its answer" in caplog.text
    assert "2 samples make no example for task text: none of the modalities shown" in caplog.text


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (TaskConfig(prompt="{trasncript}\nWhat?", answer="a"), "unknown placeholder {trasncript}"),
        (TaskConfig(prompt="They said {transcript}. What?", answer="a"), "every line of its prompt"),
    ],
)
def test_bad_templates_are_refused(dataset: Dataset, task: TaskConfig, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_examples(dataset, {"bad": task}, ["bad"], "train")
    with pytest.raises(ConfigError, match="no task 'none' - known: bad"):
        build_examples(dataset, {"bad": task}, ["none"], "train")


def test_lengths_are_measured_once(dataset: Dataset, store: Store) -> None:
    examples = build_examples(dataset, TASKS, ["emotion"], "train")
    measured: list[str] = []

    def length_of(example: Example) -> Length:
        measured.append(example.key)
        return Length(
            tokens=len(example.turns[0].text), targets=1, frames=8, audio_seconds=example.sample.audio_seconds
        )

    def table(processor: str = "p", some: Sequence[Example] = examples) -> Any:
        return measure_lengths(some, length_of, dataset_digest=dataset.digest, processor_digest=processor, store=store)

    first = table()
    assert len(measured) == len(examples) == len(first)
    again = table()
    assert len(measured) == len(examples)
    assert again.digest == first.digest
    assert (again.costs() == first.costs()).all()
    assert first.audio_ms.tolist() == [int(1000 * e.sample.audio_seconds) for e in examples]
    assert len({first.digest, table("q").digest, table(some=examples[:3]).digest}) == 3


def test_examples_are_numbered_sample_by_sample_in_narrow_integers(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = build_examples(dataset, {**TASKS, "again": TASKS["emotion"]}, ["emotion", "again"], "train")
    pairs = list(zip(both.rows.tolist(), both.asked.tolist(), strict=True))
    assert pairs == sorted(pairs) == [(int(row), task) for row in dataset.split_numbers("train") for task in (0, 1)]
    assert both.rows.dtype == both.asked.dtype == dataset.split_numbers("train").dtype == np.uint8
    for room in ("instructions", "opened"):
        monkeypatch.setattr(f"deemo_dist.dataset.{room}.CHUNK", 3)
    parts = build_examples(dataset, both.tasks, both.names, "train")
    assert np.array_equal(parts.rows, both.rows) and np.array_equal(parts.asked, both.asked)
    assert len(build_examples(dataset, both.tasks, [], "train")) == 0
    units = [example.sample.unit for example in both]
    assert both.groups.digest == Groups.of(np.array(units)).digest and both.groups.members is None
    assert digest_of_integers(both.rows) == sha256_bytes(both.rows.astype("<i8").tobytes())


@pytest.mark.parametrize("wide", [False, True])
def test_stored_lengths_come_back_narrow_and_damaged_ones_are_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch, wide: bool
) -> None:
    """``wide``: a table too large to be read at once, in many groups of rows."""
    if wide:
        monkeypatch.setattr("deemo_dist.dataset.lengths.ROWS", 7)
        monkeypatch.setattr("deemo_dist.dataset.ranged.WHOLE", 10)
    columns = [np.arange(20) + least for least in (1, 0, 300, 70_000)]
    write_lengths(store, "lengths/a", columns, dataset_digest="d")
    found = read_lengths(store, "lengths/a", 20, digest="a")
    for column, expected, kind in zip(
        (found.tokens, found.targets, found.frames, found.audio_ms), columns, ("u1", "u1", "u2", "u4"), strict=True
    ):
        assert np.array_equal(column, expected) and column.dtype == kind
    assert lengths_of_what(store.get("lengths/a")) == "d"
    with pytest.raises(CorruptDataError, match="20 rows instead of 19"):
        read_lengths(store, "lengths/a", 19, digest="a")
    for damage in (b"rubbish", store.get("lengths/a")[:-9], store.get("lengths/a").replace(b"frames", b"fromes")):
        store.put("lengths/b", damage)
        with pytest.raises(CorruptDataError, match="lengths/b: not a readable table"):
            read_lengths(store, "lengths/b", 20, digest="a")


def test_a_stored_length_that_changed_is_refused(store: Store) -> None:
    columns = [np.arange(20) + least for least in (1, 0, 300, 70_000)]
    write_lengths(store, "lengths/a", columns, dataset_digest="d")
    schema = pq.read_schema(pa.BufferReader(store.get("lengths/a")))

    def put(metadata: dict[bytes, bytes]) -> None:
        """One target more in row 3, as if the bytes had turned."""
        changed = [columns[0], columns[1] + (np.arange(20) == 3), *columns[2:]]
        arrays = [pa.array(column, pa.int32()) for column in changed]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema.with_metadata(metadata)), sink)
        store.put("lengths/a", sink.getvalue().to_pybytes())

    put(schema.metadata)
    with pytest.raises(CorruptDataError, match=r"lengths/a: its lengths do not have the digest .* measured anew"):
        read_lengths(store, "lengths/a", 20, digest="a")
    put({name: value for name, value in schema.metadata.items() if name != b"deemo.content"})  # as older ones are
    assert read_lengths(store, "lengths/a", 20, digest="a").targets[3] == 4


def test_samples_are_looked_at_in_parts_and_counted_together(
    dataset: Dataset, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = {**TASKS, "audio": TaskConfig(prompt="Which?", answer="{label.emotion}", modalities=("audio",))}
    logging.getLogger("deemo_dist").propagate = True
    caplog.set_level(logging.INFO)
    whole, said = build_examples(dataset, tasks, list(tasks), "train"), caplog.messages[:]
    assert len(whole) < len(tasks) * len(dataset.split("train"))
    caplog.clear()
    monkeypatch.setattr("deemo_dist.dataset.instructions.PART", 3)
    sizes: list[int] = []
    real = columns.filled
    monkeypatch.setattr(columns, "filled", lambda text, table: sizes.append(len(table)) or real(text, table))
    parts = build_examples(dataset, tasks, list(tasks), "train")
    assert max(sizes) == 3 and list(parts) == list(whole) and caplog.messages == said and said


def test_examples_that_no_pack_holds_are_left_out_and_counted(
    dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    examples = build_examples(dataset, TASKS, ["emotion"], "train")
    tokens = np.arange(len(examples)) * 10 + 10
    lengths = LengthTable(digest="l", tokens=tokens, targets=tokens, frames=0 * tokens, audio_ms=0 * tokens)
    logging.getLogger("deemo_dist").propagate = True
    kept, table = leave_out(examples, lengths, Budget(tokens=50, frames=0, audio_seconds=0.0))
    assert [example.key for example in kept] == [example.key for example in examples][:5]
    assert table.tokens.tolist() == [10, 20, 30, 40, 50] and table.digest != lengths.digest
    assert kept.digest != examples.digest
    assert f"{len(examples) - 5} of {len(examples)} examples are too long" in caplog.text
    assert leave_out(examples, lengths, Budget(tokens=10_000, frames=0, audio_seconds=0.0)) == (examples, lengths)
    with pytest.raises(DatasetError, match="fits in a pack"):
        leave_out(examples, lengths, Budget(tokens=5, frames=0, audio_seconds=0.0))


def test_lengths_that_make_no_sense_are_refused(dataset: Dataset) -> None:
    examples = build_examples(dataset, TASKS, ["emotion"], "train")
    with pytest.raises(DatasetError, match="has the length"):
        measure_lengths(
            examples,
            lambda example: Length(tokens=3, targets=4, frames=0, audio_seconds=0.0),
            dataset_digest="d",
            processor_digest="p",
        )
