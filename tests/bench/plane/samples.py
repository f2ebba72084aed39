"""Samples of the usual sizes as shards, index rows and a plan over them."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deemo_dist.config import StorageConfig
from deemo_dist.dataset import Budget, PlanSettings, ShardWriter, StepPlan, shard_key, table_of
from deemo_dist.records import Example, Length, Member
from deemo_dist.storage import Store, open_store
from tests import parts

SIZES = {"mp4": 64 * 1024, "flac": 32 * 1024, "cues.npy": 8 * 1024}
JSON = json.dumps({"transcript": "x" * 580}).encode()
PREFIX = "datasets/bench/v1"
PACK = 16

ATTESTATION = parts.attestation(
    policy="bench",
    policy_digest="",
    key_id="",
    frames=0,
    frames_with_face=0,
    masked_area=0.0,
    pii_entities=0,
    audited_frames=0,
    audit_detector="",
    figures={},
)


def make_samples(count: int, first: int = 0) -> list[tuple[str, dict[str, bytes]]]:
    """Incompressible media of the usual sizes, and 600 bytes of JSON."""
    media = [{extension: os.urandom(size) for extension, size in SIZES.items()} for _ in range(count)]
    return [(f"{first + number:032x}", {**files, "json": JSON}) for number, files in enumerate(media)]


def make_dataset(folder: Path, shards: int, samples: int) -> tuple[Store, list[Example]]:
    """A store with shards of samples, and an example of each sample that shows all of it."""
    store = open_store(StorageConfig(root=f"file://{folder}"))
    examples: list[Example] = []
    for unit in range(shards):
        writer = ShardWriter(unit)
        for key, files in make_samples(samples, unit * samples):
            writer.add(key, files)
        shard = writer.finish()
        assert shard is not None
        store.put_chunks(shard_key(PREFIX, shard.tar.name), shard.chunks)
        examples += [example_of(key, unit, shard.tar.name, members) for key, members in shard.members.items()]
    return store, examples


def example_of(key: str, unit: int, shard: str, members: Sequence[Member]) -> Example:
    """An example that shows all members of a sample."""
    row = parts.row(
        key=key,
        unit=unit,
        shard=shard,
        members=tuple(members),
        frames=8,
        width=64,
        height=64,
        audio_seconds=1.0,
        characters=0,
        cue_frames=8,
        subject_key="",
        source="bench",
        attestation=ATTESTATION,
    )
    return Example(key=key, task="bench", turns=(), sample=row, modalities=("video", "audio", "cues"))


def plan_of(examples: Sequence[Example], epochs: int) -> StepPlan:
    """A plan of packs of 16, one a step."""
    lengths = table_of([Length(tokens=10, targets=1, frames=1, audio_seconds=0.1)] * len(examples))
    budget = Budget(tokens=10 * PACK, frames=PACK, audio_seconds=60.0)
    settings = PlanSettings(seed=1, epochs=epochs, packs_per_step=1, budget=budget)
    return StepPlan(lengths, np.array([example.sample.unit for example in examples]), settings)
