"""Datasets of many rows, made of few; and what beginning on one takes: ``python -m tests.large WARM ROOT``."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deemo_dist.config import StageConfig, StorageConfig, TaskConfig, TrainRule
from deemo_dist.dataset import (
    Examples,
    StepPlan,
    build_examples,
    load_examples,
    measure_lengths,
    open_dataset,
    plan_stage,
    plan_units,
)
from deemo_dist.dataset.info import PartFile
from deemo_dist.dataset.layout import info_key, lengths_key
from deemo_dist.dataset.lengths import lengths_digest, write_lengths
from deemo_dist.dataset.media import spans
from deemo_dist.digests import canonical_json, sha256_bytes
from deemo_dist.records import Example, Length
from deemo_dist.records.sample import ANNOTATION_SCHEMA, INDEX_SCHEMA, LEDGER_SCHEMA
from deemo_dist.storage import Store, open_store
from tests import parts

SHARD = 640
ASKED = "They said: {transcript}\nWhich emotion?"
TASKS = {
    "emotion": TaskConfig(prompt=ASKED, answer="{label.emotion}"),
    "said": TaskConfig(prompt=ASKED, answer="{label.emotion}", modalities=("text",)),
}
"""``said`` shows no media: many samples here stand at one place of one shard, which no loader is made for."""

STAGE = StageConfig(tasks=("emotion",), trains={"*": TrainRule()}, packs_per_step=64, epochs=2)


def _grown(table: pa.Table, schema: pa.Schema, samples: int, *, units: bool) -> pa.Table:
    """A table with as many rows as wanted, of keys and units of their own."""
    many = pa.concat_tables([table] * -(-samples // len(table))).slice(0, samples).combine_chunks()
    columns = {"key": pa.array([f"{number:032x}" for number in range(samples)])}
    if units:
        columns["unit"] = pa.array(np.arange(samples) // SHARD, schema.field("unit").type)
        columns["split"] = pa.array(["train"] * samples)
    for name, values in columns.items():
        many = many.set_column(many.schema.get_field_index(name), name, values)
    return many.cast(schema.remove_metadata()).replace_schema_metadata(schema.metadata)


def make_large(store: Store, samples: int) -> None:
    """The dataset demo/v1 of so many samples: the rows of a small one again and again, under keys of their own."""
    parts.dataset(store, plan_units(parts.clips(30), 6000))
    small = open_dataset(store, "demo", "v1")

    def put(name: str, table: pa.Table) -> tuple[PartFile, ...]:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        store.put(f"{small.prefix}/{name}/large.parquet", data)
        return (PartFile(key=f"{small.prefix}/{name}/large.parquet", rows=len(table), sha256=sha256_bytes(data)),)

    said = put("annotations", _grown(small.annotations.rows.table, ANNOTATION_SCHEMA, samples, units=False))
    index = put("index", _grown(small.index.table, INDEX_SCHEMA, samples, units=True))
    ledger = put("ledger", _grown(small.ledger.table, LEDGER_SCHEMA, samples, units=False))
    info = replace(small.info, samples=samples, clips=samples, index=index, ledger=ledger, annotations=said)
    store.put(info_key(small.prefix), canonical_json(info))
    for task in TASKS:
        put_lengths(store, task)


def put_lengths(store: Store, task: str) -> None:
    """The lengths of all examples, as if they had been measured."""
    dataset = open_dataset(store, "demo", "v1")
    examples = build_examples(dataset, TASKS, [task], "train")
    digest = lengths_digest(examples, dataset_digest=dataset.digest, processor_digest="p")
    draw = np.random.default_rng(0)
    columns = [draw.integers(low, high, len(examples)) for low, high in ((60, 1200), (1, 9), (0, 17), (0, 20_000))]
    write_lengths(store, lengths_key(digest), columns, dataset_digest=dataset.digest)


def never(example: Example) -> Length:
    """Where the lengths are cached."""
    raise AssertionError("the lengths are cached")


def start(store: Store, task: str = "emotion") -> tuple[StepPlan, Examples, list[Any]]:
    """From nothing to the reads of the first step, as every rank does it."""
    dataset = open_dataset(store, "demo", "v1", ledger=False)
    examples = build_examples(dataset, TASKS, [task], "train")
    lengths = measure_lengths(examples, never, dataset_digest=dataset.digest, processor_digest="p", store=store)
    plan = plan_stage(examples, lengths, STAGE, seed=1, store=store)
    packs = [tuple([examples[number] for number in items or ()]) for items in plan.slice(0, 0, 8)]
    return plan, examples, [spans(pack) for pack in packs]


def first_batch(store: Store) -> tuple[StepPlan, Examples, list[Any]]:
    """Begin, and have the first pack."""
    plan, examples, _ = begun = start(store, "said")
    first = [examples[number] for number in plan.slice(0, 0, 8)[0] or ()]
    assert load_examples(first, store, examples.dataset.prefix)
    return begun


def resident(what: str = "VmRSS") -> int:
    """Bytes of this process in memory: now, or the most ever (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) * 1024


def begin(warm: str, root: str) -> dict[str, float]:
    """Begin on the dataset at ``root``, once that at ``warm`` has shown this process the way: bytes more than before,
    held and at most, and seconds without and with the table of the plan."""
    first_batch(open_store(StorageConfig(root=warm)))
    before, store = resident(), open_store(StorageConfig(root=root))
    began = time.perf_counter()
    held = first_batch(store)
    first = time.perf_counter() - began
    figures = {"held": resident() - before, "peak": resident("VmHWM") - before, "first": first, "steps": held[0].steps}
    del held
    began = time.perf_counter()
    first_batch(store)
    return {**figures, "again": time.perf_counter() - began}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(begin(*sys.argv[1:3])))
