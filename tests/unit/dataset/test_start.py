"""Large datasets: planned and begun in a moment, and in little memory."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deemo_dist.config import StageConfig, TaskConfig, TrainRule
from deemo_dist.dataset import build_examples, measure_lengths, open_dataset, plan_stage, plan_units
from deemo_dist.dataset.info import PartFile
from deemo_dist.dataset.layout import info_key, plan_key
from deemo_dist.dataset.media import spans
from deemo_dist.digests import canonical_json, sha256_bytes
from deemo_dist.records import Example, Length
from deemo_dist.records.sample import ANNOTATION_SCHEMA, INDEX_SCHEMA, LEDGER_SCHEMA
from deemo_dist.storage import Store
from tests.bench.plane.memory import measured

pytestmark = pytest.mark.slow
SAMPLES, SHARD = 100_000, 640
TASKS = {"emotion": TaskConfig(prompt="They said: {transcript}\nWhich emotion?", answer="{label.emotion}")}


def grown(table: pa.Table, schema: pa.Schema, *, units: bool) -> pa.Table:
    """A table with as many rows as wanted, of keys and units of their own."""
    many = pa.concat_tables([table] * -(-SAMPLES // len(table))).slice(0, SAMPLES).combine_chunks()
    columns = {"key": pa.array([f"{number:032x}" for number in range(SAMPLES)])}
    if units:
        columns["unit"] = pa.array(np.arange(SAMPLES) // SHARD, schema.field("unit").type)
        columns["split"] = pa.array(["train"] * SAMPLES)
    for name, values in columns.items():
        many = many.set_column(many.schema.get_field_index(name), name, values)
    return many.cast(schema.remove_metadata()).replace_schema_metadata(schema.metadata)


def make_large(made: Any, store: Store) -> None:
    """A dataset of 100,000 samples, of the rows of a small one again and again; without media."""
    made.dataset(store, plan_units(made.clips(30), 6000))
    small = open_dataset(store, "demo", "v1")

    def put(name: str, table: pa.Table) -> tuple[PartFile, ...]:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        store.put(f"{small.prefix}/{name}/large.parquet", data)
        return (PartFile(key=f"{small.prefix}/{name}/large.parquet", rows=len(table), sha256=sha256_bytes(data)),)

    said = put("annotations", grown(small.annotations.rows.table, ANNOTATION_SCHEMA, units=False))
    index = put("index", grown(small.index.table, INDEX_SCHEMA, units=True))
    ledger = put("ledger", grown(small.ledger.table, LEDGER_SCHEMA, units=False))
    info = replace(small.info, samples=SAMPLES, clips=SAMPLES, index=index, ledger=ledger, annotations=said)
    store.put(info_key(small.prefix), canonical_json(info))


def start(store: Store, length_of: Any) -> tuple[str, Sequence[Any]]:
    """From nothing to the reads of the first step, as every rank does it; the plan's digest."""
    dataset = open_dataset(store, "demo", "v1")
    examples = build_examples(dataset, TASKS, ["emotion"], "train")
    lengths = measure_lengths(examples, length_of, dataset_digest=dataset.digest, processor_digest="p", store=store)
    stage = StageConfig(tasks=("emotion",), trains={"*": TrainRule()}, packs_per_step=64, epochs=2)
    plan = plan_stage(examples, lengths, stage, seed=1, store=store)
    packs = [tuple([examples[number] for number in items or ()]) for items in plan.slice(0, 0, 8)]
    return plan.digest, [spans(pack) for pack in packs]


def test_a_hundred_thousand_samples_begin_within_two_seconds(made: Any, store: Store) -> None:
    """CPU time, of all threads: what others do on this machine does not count."""
    make_large(made, store)

    def length_of(example: Example) -> Length:
        number = int(example.key, 16)
        return Length(tokens=60 + number * 7919 % 1140, targets=1 + number % 9, frames=number % 17, audio_seconds=1.5)

    def never(example: Example) -> Length:
        raise AssertionError("the lengths are cached")

    digest, first = start(store, length_of)
    assert len(first) == 8 and all(first)
    seconds = []
    for _ in range(3):
        store.delete(plan_key(digest))
        began = time.process_time()
        assert start(store, never) == (digest, first)
        seconds.append(time.process_time() - began)
    assert statistics.median(seconds) < 2, seconds


def test_a_plan_needs_a_few_bytes_an_example() -> None:
    """By the kernel's own figure: 100 million examples at this rate, and what a process is before any, are within 1
    GiB. ``python -m tests.bench.plane.memory`` measures those."""
    few, many = measured(1_000_000), measured(10_000_000)
    rate = (many["peak"] - few["peak"]) / 9_000_000
    assert rate < 7.5
    assert few["peak"] + rate * 99_000_000 < 2**30
