"""Datasets as preprocessing leaves them, made without its models: small true media, keys by a real root key."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from deemo_dist.config import DataConfig, KeysConfig, RunConfig, StorageConfig, TrackingConfig
from deemo_dist.dataset import (
    DatasetHeader,
    DatasetInfo,
    Sample,
    UnitBuilder,
    begin_version,
    commit_unit,
    compact,
    dataset_prefix,
    manifest_digest,
    plan_units,
)
from deemo_dist.deid import KeyRing, policy_digest, policy_strength
from deemo_dist.records import Annotation, Attestation, Clip, NfblEvent
from deemo_dist.storage import open_store

PEOPLE = ("Zora Zamboni", "Ada", "Bo")


def clips_of(count: int = 9) -> list[Clip]:
    return [
        Clip(
            uri=f"file:///raw/{PEOPLE[number % 3]} {number}.mp4",
            subject=PEOPLE[number % 3],
            split="test" if number % 3 == 2 else "train",
            source="made",
            size_bytes=1000,
            labels={"emotion": "positive"},
            transcript=f"words {number}",
        )
        for number in range(count)
    ]


def config_of(folder: Path, version: str = "v1", name: str = "demo") -> RunConfig:
    return RunConfig(
        name="run",
        storage=StorageConfig(root=f"file://{folder / 'store'}", cache=str(folder / "cache")),
        keys=KeysConfig(source="environment"),
        data=DataConfig(name=name, version=version),
        tracking=TrackingConfig(enabled=False),
    )


@cache
def media() -> tuple[bytes, bytes]:
    """H.264 and FLAC of a small moving pattern and a tone."""
    from deemo_dist.media import encode_flac, encode_video

    frames = np.full((4, 48, 64, 3), 60, np.uint8)
    for time in range(4):
        frames[time, :, 8 * time : 8 * time + 16] = 220
    return encode_video(frames, 8.0), encode_flac(np.sin(np.arange(8_000) * 0.05).astype(np.float32) * 0.5)


def make(
    config: RunConfig, clips: Sequence[Clip], rejected: Sequence[int] = (), *, finish: bool = True, first: int = 2
) -> DatasetInfo | None:
    """What preprocessing leaves, without its models; unless it is to ``finish``, of its ``first`` units alone."""
    store, ring = open_store(config.storage), KeyRing.open(config.keys, dataset=config.data.name)
    policy = policy_digest(config.policy, ring.key_id)
    units = plan_units(clips, 3000)
    header = DatasetHeader(
        manifest_digest=manifest_digest(clips),
        units=len(units),
        clips=len(clips),
        shard_bytes=3000,
        policy=config.policy.name,
        policy_digest=policy,
        key_id=ring.key_id,
        strength=policy_strength(config.policy),
    )
    begin_version(store, config.data.name, config.data.version, header)
    for unit in units if finish else units[:first]:
        builder = UnitBuilder(unit.index, len(unit.clips), policy_digest=policy, toolchain_digest="t")
        for clip in unit.clips:
            key = ring.sample_key(clip.uri)
            if clips.index(clip) in rejected:
                builder.rejected(key, stage="decode", reason="empty")
                continue
            said = Annotation(
                key=key,
                labels=clip.labels,
                texts={},
                nfbl=(NfblEvent(start=0.1, end=0.4, type="fist"),),
                transcript=clip.transcript,
            )
            builder.written(sample_of(config, ring, clip, policy), said)
        receipt, tar = builder.finish()
        commit_unit(store, dataset_prefix(config.data.name, config.data.version), receipt, tar)
    return compact(store, config.data.name, config.data.version, units, header) if finish else None


def sample_of(config: RunConfig, ring: KeyRing, clip: Clip, policy: str) -> Sample:
    attestation = Attestation(
        policy=config.policy.name,
        policy_digest=policy,
        key_id=ring.key_id,
        strength=policy_strength(config.policy),
        faces="fill",
        voice="world",
        transcript="scrub:given",
        captions="mask",
        frames=4,
        frames_with_face=4,
        masked_area=0.1,
        pii_entities=0,
        audited_frames=2,
        residual_face_rate=0.0,
        audit_detector="blazeface-short",
    )
    return Sample(
        key=ring.sample_key(clip.uri),
        video=media()[0],
        audio=media()[1],
        audio_seconds=0.5,
        cues=np.zeros((2, 5, 3), np.float16),
        frames=4,
        fps=8.0,
        width=64,
        height=48,
        subject_key=ring.subject_key(clip.subject),
        source=clip.source,
        split=clip.split,
        attestation=attestation,
        transcript=clip.transcript,
    )
