"""A small real dataset under the demo's policy, for what looks at a run before it trains."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from deemo_dist.config import RunConfig, StageConfig, TrainRule, load
from deemo_dist.dataset import DatasetHeader, Sample, UnitBuilder, commit_unit, compact, dataset_prefix
from deemo_dist.deid import policy_digest
from deemo_dist.records import Annotation, Attestation, Clip, Unit
from deemo_dist.storage import open_store

KEY_ID = "k" * 16
CLIPS = 12


def run_in(folder: Path, **engine) -> RunConfig:
    """A run of one stage whose store and cache are in ``folder``."""
    config = load("demo", [f"storage.root=file://{folder}/store", f"storage.cache={folder}/cache"])
    rules = {"*projector*": TrainRule(), "*language_model*": TrainRule()}
    stage = StageConfig(tasks=("emotion",), trains=rules, packs_per_step=2, max_tokens=300, modality_dropout=0.5)
    return replace(config, stages={"instruct": stage}, engine=replace(config.engine, **engine))


def attestation_of(config: RunConfig) -> Attestation:
    """A strong one, of the run's policy."""
    return Attestation(
        policy="standard",
        policy_digest=policy_digest(config.policy, KEY_ID),
        key_id=KEY_ID,
        strength="strong",
        faces="fill",
        voice="world",
        transcript="scrub",
        captions="mask",
        frames=12,
        frames_with_face=11,
        masked_area=0.1,
        pii_entities=1,
        audited_frames=4,
        residual_face_rate=0.0,
        audit_detector="blazeface-short",
        figures={},
    )


def sample_of(config: RunConfig, number: int) -> Sample:
    """Every third sample is silent, every fourth has no cues."""
    from deemo_dist.media import encode_flac, encode_video

    frames = np.full((12, 48, 64, 3), 20 * (number % 10), np.uint8)
    wave = np.sin(np.arange(8_000) * 0.05).astype(np.float32) * 0.5
    silent, still = number % 3 == 2, number % 4 == 3
    return Sample(
        key=f"{number:032x}",
        video=encode_video(frames, 8.0),
        frames=12,
        fps=8.0,
        width=64,
        height=48,
        subject_key=f"{number // 3:032x}",
        source="made",
        split="train",
        attestation=attestation_of(config),
        audio=None if silent else encode_flac(wave),
        audio_seconds=0.0 if silent else 0.5,
        cues=None if still else np.zeros((6, 22, 3), np.float16),
        cue_times=None if still else np.arange(6) / 4,
        transcript=f"I say {number}",
        subgroup={},
    )


def prepared_in(folder: Path) -> Path:
    """``folder``, its store with a small real dataset under the demo's policy."""
    config = run_in(folder)
    store = open_store(config.storage)
    clips = tuple(
        Clip(uri=f"{number}", subject="s", split="train", source="made", size_bytes=1) for number in range(CLIPS)
    )
    digest = policy_digest(config.policy, KEY_ID)
    builder = UnitBuilder(0, CLIPS, policy_digest=digest, toolchain_digest="t")
    for number in range(CLIPS):
        labels = {"emotion": "positive" if number % 2 else "negative"}
        said = Annotation(key=f"{number:032x}", labels=labels, texts={}, nfbl=(), transcript=f"I say {number}")
        builder.written(sample_of(config, number), said)
    receipt, tar = builder.finish({})
    commit_unit(store, dataset_prefix("demo", "v1"), receipt, tar)
    header = DatasetHeader(
        manifest_digest="m" * 64,
        units=1,
        clips=CLIPS,
        shard_bytes=10**6,
        policy="standard",
        policy_digest=digest,
        key_id=KEY_ID,
        strength="strong",
    )
    compact(store, "demo", "v1", [Unit(index=0, clips=clips)], header)
    return folder
