"""What the tests' datasets are made of: clips, small true media, samples, attestations, units, whole datasets.

Everything has values of its own; ``said`` are those that a test wants otherwise. Keys are plain digests: datasets under
a root key are made by :mod:`tests.made`.
"""

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

import numpy as np

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
from deemo_dist.records import Annotation, Attestation, Clip, IndexRow, NfblEvent, Receipt, Unit
from deemo_dist.storage import Store

POLICY = "p" * 64
KEY_ID = "k" * 16
FPS, HEIGHT, WIDTH = 8.0, 48, 64


def key(uri: str) -> str:
    """A key that is the same everywhere."""
    return sha256_bytes(uri.encode())[:32]


def attestation(**said: Any) -> Attestation:
    """A strong one."""
    values: dict[str, Any] = {
        "policy": "standard",
        "policy_digest": POLICY,
        "key_id": KEY_ID,
        "strength": "strong",
        "faces": "fill",
        "voice": "world",
        "transcript": "scrub",
        "captions": "mask",
        "frames": 12,
        "frames_with_face": 11,
        "masked_area": 0.1,
        "pii_entities": 1,
        "audited_frames": 4,
        "residual_face_rate": 0.0,
        "audit_detector": "blazeface-short",
        "figures": {"seconds": 0.25},
    }
    return Attestation(**(values | said))


def row(**said: Any) -> IndexRow:
    """Of a sample with every medium, three seconds long, and without files."""
    values: dict[str, Any] = {
        "key": "0" * 32,
        "unit": 0,
        "shard": "00000-0.tar",
        "members": (),
        "frames": 24,
        "fps": FPS,
        "width": 96,
        "height": 80,
        "audio_seconds": 3.0,
        "characters": 10,
        "cue_frames": 24,
        "subject_key": "0" * 32,
        "source": "made",
        "split": "train",
        "subgroup": {},
        "attestation": attestation(),
    }
    return IndexRow(**(values | said))


@cache
def media(number: int = 0, frames: int = 12) -> tuple[bytes, bytes]:
    """H.264 of a small moving pattern, FLAC of half a second of a tone; each number another grey and pitch."""
    from deemo_dist.media import encode_flac, encode_video

    pixels = np.full((frames, HEIGHT, WIDTH, 3), 20 * (number % 10), np.uint8)
    for time in range(frames):
        pixels[time, :, 4 * time : 4 * time + 8] = 255
    wave = np.sin(np.arange(8_000) * (0.05 + 0.01 * number)).astype(np.float32) * 0.5
    return encode_video(pixels, FPS), encode_flac(wave)


def sample(clip: Clip, number: int, *, keypoints: int = 5, **said: Any) -> Sample:
    """A sample with all members; every third has no sound, every fourth no cues."""
    video, audio = media(number % 3)
    silent, still = number % 3 == 2, number % 4 == 3
    cues = np.arange(6 * keypoints * 3).reshape(6, keypoints, 3).astype(np.float16) + number
    values: dict[str, Any] = {
        "key": key(clip.uri),
        "video": video,
        "frames": 12,
        "fps": FPS,
        "width": WIDTH,
        "height": HEIGHT,
        "subject_key": key(clip.subject),
        "source": clip.source,
        "split": clip.split,
        "audio": None if silent else audio,
        "audio_seconds": 0.0 if silent else 0.5,
        "cues": None if still else cues,
        "cue_times": None if still else np.arange(6) / 4,
        "transcript": clip.transcript,
        "subgroup": clip.subgroup,
        "attestation": attestation(),
    }
    return Sample(**(values | said))


def clips(count: int, **said: Any) -> list[Clip]:
    """Clips, three of a person, with everything that can be said of one; every sixth has no transcript."""
    return [Clip(**(_clip(number) | said)) for number in range(count)]


def _clip(number: int) -> dict[str, Any]:
    return {
        "uri": f"file:///raw/clip-{number}.mp4",
        "subject": f"subject {number // 3}",
        "split": "test" if number % 5 == 4 else "train",
        "source": "made",
        "size_bytes": 1000 + number,
        "transcript": None if number % 6 == 5 else f"I say {number}",
        "subgroup": {"hand": "left" if number % 2 else "right"},
        "labels": {"emotion": "positive" if number % 2 else "negative"},
        "texts": {"reasoning": f"because of {number}"},
        "nfbl": (NfblEvent(start=1.0, end=2.0, type="fist"), NfblEvent(start=0.0, end=1.0, type="neck")),
    }


def build(
    unit: Unit,
    sampled: Callable[[Clip], Sample],
    rejected: Collection[str] = (),
    *,
    keyed: Callable[[str], str] = key,
    policy_digest: str = POLICY,
    toolchain: str = "t",
    statistics: Mapping[str, float] | None = None,
) -> tuple[Receipt, Shard | None]:
    """What preprocessing leaves of a unit: each clip ``sampled``, or ``rejected`` by its URI."""
    builder = UnitBuilder(unit.index, len(unit.clips), policy_digest=policy_digest, toolchain_digest=toolchain)
    for clip in unit.clips:
        name = keyed(clip.uri)
        if clip.uri in rejected:
            builder.rejected(name, stage="decode", reason="empty")
            continue
        told = Annotation(key=name, labels=clip.labels, texts=clip.texts, nfbl=clip.nfbl, transcript=clip.transcript)
        builder.written(sampled(clip), told)
    return builder.finish(statistics or {})


def receipt(
    unit: Unit,
    rejected: Collection[str] = (),
    *,
    strength: str = "strong",
    policy_digest: str = POLICY,
    toolchain: str = "t",
    keypoints: int = 5,
    **statistics: float,
) -> tuple[Receipt, Shard | None]:
    """A unit of :func:`clips`."""
    attested = attestation(strength=strength, policy_digest=policy_digest)

    def sampled(clip: Clip) -> Sample:
        number = int(clip.uri.rsplit("-", 1)[1].removesuffix(".mp4"))
        return sample(clip, number, keypoints=keypoints, attestation=attested)

    return build(unit, sampled, rejected, policy_digest=policy_digest, toolchain=toolchain, statistics=statistics)


def header(units: Collection[Unit], **said: Any) -> DatasetHeader:
    """The header of a dataset of these units."""
    values: dict[str, Any] = {
        "manifest_digest": "m" * 64,
        "units": len(units),
        "clips": sum(len(unit.clips) for unit in units),
        "shard_bytes": 4000,
        "policy": "standard",
        "policy_digest": POLICY,
        "key_id": KEY_ID,
        "strength": "strong",
    }
    return DatasetHeader(**(values | said))


def dataset(
    store: Store,
    units: Collection[Unit],
    rejected: Collection[str] = (),
    *,
    name: str = "demo",
    strength: str = "strong",
    policy_digest: str = POLICY,
    **extra: Any,
) -> DatasetInfo:
    """Commit all units of :func:`clips` and compact them as version v1 of ``name``."""
    attested = {"strength": strength, "policy_digest": policy_digest}
    for unit in units:
        commit_unit(store, dataset_prefix(name, "v1"), *receipt(unit, rejected, **attested, **extra))
    return compact(store, name, "v1", list(units), header(units, **attested))
