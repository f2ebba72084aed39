"""Datasets as preprocessing leaves them, made without its models: small true media, keys by a real root key."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from deemo_dist.config import DataConfig, KeysConfig, RunConfig, StorageConfig, TrackingConfig
from deemo_dist.dataset import (
    DatasetInfo,
    Sample,
    begin_version,
    commit_unit,
    compact,
    dataset_prefix,
    manifest_digest,
    plan_units,
)
from deemo_dist.deid import KeyRing, policy_digest, policy_strength
from deemo_dist.records import Attestation, Clip, NfblEvent
from deemo_dist.storage import open_store
from pipelines.sealed import units_of
from tests import parts

PEOPLE = ("Zora Zamboni", "Ada", "Bo")
NFBL = (NfblEvent(start=0.1, end=0.4, type="fist"),)
FRAMES = 4


def clips_of(count: int = 9) -> list[Clip]:
    return [
        Clip(
            uri=f"file:///raw/{PEOPLE[number % 3]} {number}.mp4",
            subject=PEOPLE[number % 3],
            split="test" if number % 3 == 2 else "train",
            source="made",
            size_bytes=1000,
            labels={"emotion": "positive"},
            nfbl=NFBL,
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


def make(
    config: RunConfig,
    clips: Sequence[Clip],
    rejected: Sequence[int] = (),
    *,
    finish: bool = True,
    first: int = 2,
    order: str = "manifest",
) -> DatasetInfo | None:
    """What preprocessing leaves, without its models; unless it is to ``finish``, of its ``first`` units alone. In the
    manifest's ``order``, as versions of before are and as tests count on, or in that of the keys."""
    store, ring = open_store(config.storage), KeyRing.open(config.keys, dataset=config.data.name)
    name, version = config.data.name, config.data.version
    units = units_of(clips, ring, 3000) if order == "key" else plan_units(clips, 3000)
    policy = {
        "policy": config.policy.name,
        "policy_digest": policy_digest(config.policy, ring.key_id),
        "key_id": ring.key_id,
        "strength": policy_strength(config.policy),
    }
    header = parts.header(units, manifest_digest=manifest_digest(clips), shard_bytes=3000, order=order, **policy)
    begin_version(store, name, version, header)
    for unit in units if finish else units[:first]:
        receipt, tar = parts.build(
            unit,
            partial(sample_of, ring=ring, attestation=parts.attestation(**policy)),
            {clips[number].uri for number in rejected},
            keyed=ring.sample_key,
            policy_digest=header.policy_digest,
        )
        commit_unit(store, dataset_prefix(name, version), receipt, tar)
    return compact(store, name, version, units, header) if finish else None


def sample_of(clip: Clip, ring: KeyRing, attestation: Attestation) -> Sample:
    """A sample with all members, of four frames, under a real root key's keys."""
    return parts.sample(
        clip,
        0,
        key=ring.sample_key(clip.uri),
        subject_key=ring.subject_key(clip.subject),
        attestation=attestation,
        video=parts.media(frames=FRAMES)[0],
        frames=FRAMES,
        cues=np.zeros((2, 5, 3), np.float16),
        cue_times=None,
    )
