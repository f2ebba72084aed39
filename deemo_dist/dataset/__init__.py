"""Datasets: importers, shards and their receipts, index and ledger, instructions, lengths, step plan, loader."""

from deemo_dist.dataset.cache import CachedStore, cached, remove_shards
from deemo_dist.dataset.compact import compact, dataset_digest
from deemo_dist.dataset.dropout import drop_modalities, restrict
from deemo_dist.dataset.info import DatasetHeader, DatasetInfo, begin_version, read_info
from deemo_dist.dataset.ingest import (
    import_clips,
    import_folder,
    import_jsonl,
    manifest_digest,
    read_manifest,
    write_manifest,
)
from deemo_dist.dataset.instructions import Examples, ask_example, build_examples, examples_digest
from deemo_dist.dataset.layout import dataset_prefix, shard_key
from deemo_dist.dataset.lengths import LengthTable, measure_lengths, table_of
from deemo_dist.dataset.loader import Loader, MicroBatch, StepBatch
from deemo_dist.dataset.media import load_example, load_examples, load_member
from deemo_dist.dataset.mixed import MixedExamples, mixed_lengths
from deemo_dist.dataset.mixing import Mix, Source, dataset_names
from deemo_dist.dataset.opened import Dataset, open_dataset
from deemo_dist.dataset.packing import Budget, Packs, pack
from deemo_dist.dataset.plan import PlanSettings, StepPlan, plan_stage
from deemo_dist.dataset.receipts import commit_unit, committed_units, pending_units, read_receipt
from deemo_dist.dataset.sample import Sample, UnitBuilder, sample_files
from deemo_dist.dataset.shards import Shard, ShardWriter, plan_units
from deemo_dist.dataset.verify import ledger_totals, verify

__all__ = [
    "Budget",
    "CachedStore",
    "Dataset",
    "DatasetHeader",
    "DatasetInfo",
    "Examples",
    "LengthTable",
    "Loader",
    "MicroBatch",
    "Mix",
    "MixedExamples",
    "Packs",
    "PlanSettings",
    "Sample",
    "Shard",
    "ShardWriter",
    "Source",
    "StepBatch",
    "StepPlan",
    "UnitBuilder",
    "ask_example",
    "begin_version",
    "build_examples",
    "cached",
    "commit_unit",
    "committed_units",
    "compact",
    "dataset_digest",
    "dataset_names",
    "dataset_prefix",
    "drop_modalities",
    "examples_digest",
    "import_clips",
    "import_folder",
    "import_jsonl",
    "ledger_totals",
    "load_example",
    "load_examples",
    "load_member",
    "manifest_digest",
    "measure_lengths",
    "mixed_lengths",
    "open_dataset",
    "pack",
    "pending_units",
    "plan_stage",
    "plan_units",
    "read_info",
    "read_manifest",
    "read_receipt",
    "remove_shards",
    "restrict",
    "sample_files",
    "shard_key",
    "table_of",
    "verify",
    "write_manifest",
]
