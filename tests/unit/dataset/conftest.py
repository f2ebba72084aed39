"""A real store, and small real media made into samples, receipts and datasets."""

import sys
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deemo_dist.config import StorageConfig
from deemo_dist.dataset import (
    DatasetHeader,
    DatasetInfo,
    Sample,
    Shard,
    UnitBuilder,
    commit_unit,
    compact,
    dataset_prefix,
)
from deemo_dist.digests import sha256_bytes
from deemo_dist.records import Annotation, Attestation, Clip, NfblEvent, Receipt, Unit
from deemo_dist.storage import Store, open_store

FUNCTIONS = str(Path(__file__).parent / "functions")
if FUNCTIONS not in sys.path:  # what worker processes do must be importable in them: they are handed sys.path
    sys.path.insert(0, FUNCTIONS)
POLICY = "p" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StorageConfig(root=f"file://{tmp_path / 'store'}"))


def key_of(uri: str) -> str:
    return sha256_bytes(uri.encode())[:32]


def attestation(strength: str = "strong", policy_digest: str = POLICY) -> Attestation:
    return Attestation(
        policy="standard",
        policy_digest=policy_digest,
        key_id="k" * 16,
        strength=strength,
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
        figures={"seconds": 0.25},
    )


@cache
def media_of(number: int) -> tuple[bytes, bytes]:
    """H.264 and FLAC of a small moving pattern."""
    from deemo_dist.media import encode_flac, encode_video

    frames = np.full((12, 48, 64, 3), 20 * (number % 10), np.uint8)
    for time in range(12):
        frames[time, :, 4 * time : 4 * time + 8] = 255
    wave = np.sin(np.arange(8_000) * (0.05 + 0.01 * number)).astype(np.float32) * 0.5
    return encode_video(frames, 8.0), encode_flac(wave)


def sample_of(clip: Clip, number: int, *, strength: str = "strong") -> Sample:
    """A sample with all members; every third has no sound, every fourth no cues."""
    video, audio = media_of(number % 3)
    silent, still = number % 3 == 2, number % 4 == 3
    cues = np.arange(6 * 5 * 3).reshape(6, 5, 3).astype(np.float16) + number
    return Sample(
        key=key_of(clip.uri),
        video=video,
        frames=12,
        fps=8.0,
        width=64,
        height=48,
        subject_key=key_of(clip.subject),
        source=clip.source,
        split=clip.split,
        attestation=attestation(strength),
        audio=None if silent else audio,
        audio_seconds=0.0 if silent else 0.5,
        cues=None if still else cues,
        cue_times=None if still else np.arange(6) / 4,
        transcript=clip.transcript,
        subgroup=clip.subgroup,
    )


def clips_of(count: int) -> list[Clip]:
    return [
        Clip(
            uri=f"file:///raw/clip-{number}.mp4",
            subject=f"subject {number // 3}",
            split="test" if number % 5 == 4 else "train",
            source="made",
            size_bytes=1000 + number,
            transcript=None if number % 6 == 5 else f"I say {number}",
            subgroup={"hand": "left" if number % 2 else "right"},
            labels={"emotion": "positive" if number % 2 else "negative"},
            texts={"reasoning": f"because of {number}"},
            nfbl=(NfblEvent(start=1.0, end=2.0, type="fist"), NfblEvent(start=0.0, end=1.0, type="neck")),
        )
        for number in range(count)
    ]


def receipt_of(
    unit: Unit, rejected: Collection[str] = (), *, strength: str = "strong", toolchain: str = "t", **statistics: float
) -> tuple[Receipt, Shard | None]:
    builder = UnitBuilder(unit.index, len(unit.clips), policy_digest=POLICY, toolchain_digest=toolchain)
    for clip in unit.clips:
        key = key_of(clip.uri)
        if clip.uri in rejected:
            builder.rejected(key, stage="decode", reason="empty")
            continue
        number = int(clip.uri.rsplit("-", 1)[1].removesuffix(".mp4"))
        said = Annotation(key=key, labels=clip.labels, texts=clip.texts, nfbl=clip.nfbl, transcript=clip.transcript)
        builder.written(sample_of(clip, number, strength=strength), said)
    return builder.finish(statistics)


def header_of(units: Collection[Unit], strength: str = "strong") -> DatasetHeader:
    return DatasetHeader(
        manifest_digest="m" * 64,
        units=len(units),
        clips=sum(len(unit.clips) for unit in units),
        shard_bytes=4000,
        policy="standard",
        policy_digest=POLICY,
        key_id="k" * 16,
        strength=strength,
    )


def dataset_of(
    store: Store,
    units: Collection[Unit],
    rejected: Collection[str] = (),
    *,
    strength: str = "strong",
    name: str = "demo",
    **extra: Any,
) -> DatasetInfo:
    """Commit all units and compact them as version v1 of ``name``."""
    for unit in units:
        receipt, tar = receipt_of(unit, rejected, strength=strength, **extra)
        commit_unit(store, dataset_prefix(name, "v1"), receipt, tar)
    return compact(store, name, "v1", list(units), header_of(units, strength))


class Made:
    """What tests make things with."""

    attestation = staticmethod(attestation)
    clips = staticmethod(clips_of)
    dataset = staticmethod(dataset_of)
    header = staticmethod(header_of)
    key: Callable[[str], str] = staticmethod(key_of)
    receipt = staticmethod(receipt_of)
    sample = staticmethod(sample_of)


@pytest.fixture(scope="session")
def made() -> type[Made]:
    return Made
