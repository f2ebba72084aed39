"""A sample: a clip after de-identification. Its attestation, its index row, its ledger row, its annotation.

``key`` is the sample key: 32 hex characters of a keyed hash of the clip's URI; no field here names a person or a file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from deemo_dist.records.clip import NFBL_LIST, STRING_MAP, NfblEvent
from deemo_dist.records.digested import Digested

INDEX_VERSION = 3
LEDGER_VERSION = 1
ANNOTATION_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Attestation:
    """What was done to one clip, and what an audit measured. Carried by every sample; the loader refuses one without.

    ``strength`` is ``strong`` or ``weak`` (not de-identified); ``residual_face_rate`` the share of
    audited frames in which ``audit_detector`` (one that did not mask) still found a face outside a masked region;
    ``transcript`` says how the words were treated and whence they came (``scrub:given``, ``scrub:asr``, ``drop``);
    ``figures`` what else was measured, by name (correlations, tracks, muted seconds), never a parameter.
    """

    policy: str
    policy_digest: str
    key_id: str
    strength: str
    faces: str
    voice: str
    transcript: str
    captions: str
    frames: int
    frames_with_face: int
    masked_area: float
    pii_entities: int
    audited_frames: int
    residual_face_rate: float
    audit_detector: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Member(Digested):
    """One file of a sample inside its shard: ``offset`` and ``size`` in bytes of the content, and its digest."""

    extension: str
    offset: int
    size: int


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """Where a sample is and how large, free of any model: token counts and labels are elsewhere."""

    key: str
    unit: int
    shard: str
    members: tuple[Member, ...]
    frames: int
    fps: float
    width: int
    height: int
    audio_seconds: float
    characters: int
    cue_frames: int
    subject_key: str
    source: str
    split: str
    subgroup: Mapping[str, str]
    attestation: Attestation


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """What became of one clip: ``written`` (shard, offset of its first member) or ``rejected`` (stage, reason)."""

    key: str
    unit: int
    status: str
    shard: str | None = None
    offset: int | None = None
    stage: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """What is said of a sample: labels, scrubbed free texts, NFBL events. Kept in overlays beside the shards."""

    key: str
    labels: Mapping[str, str]
    texts: Mapping[str, str]
    nfbl: tuple[NfblEvent, ...]
    transcript: str | None


ATTESTATION = pa.struct(
    [
        ("policy", pa.string()),
        ("policy_digest", pa.string()),
        ("key_id", pa.string()),
        ("strength", pa.string()),
        ("faces", pa.string()),
        ("voice", pa.string()),
        ("transcript", pa.string()),
        ("captions", pa.string()),
        ("frames", pa.int64()),
        ("frames_with_face", pa.int64()),
        ("masked_area", pa.float64()),
        ("pii_entities", pa.int64()),
        ("audited_frames", pa.int64()),
        ("residual_face_rate", pa.float64()),
        ("audit_detector", pa.string()),
        ("figures", pa.map_(pa.string(), pa.float64())),
    ]
)

INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("unit", pa.int64()),
        ("shard", pa.string()),
        (
            "members",
            pa.list_(
                pa.struct(
                    [
                        ("extension", pa.string()),
                        ("offset", pa.int64()),
                        ("size", pa.int64()),
                        ("blake3", pa.string()),
                        ("sha256", pa.string()),
                    ]
                )
            ),
        ),
        ("frames", pa.int64()),
        ("fps", pa.float64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("audio_seconds", pa.float64()),
        ("characters", pa.int64()),
        ("cue_frames", pa.int64()),
        ("subject_key", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("subgroup", STRING_MAP),
        ("attestation", ATTESTATION),
    ],
    metadata={"deemo.kind": "index", "deemo.version": str(INDEX_VERSION)},
)

LEDGER_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("unit", pa.int64()),
        ("status", pa.string()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("stage", pa.string()),
        ("reason", pa.string()),
    ],
    metadata={"deemo.kind": "ledger", "deemo.version": str(LEDGER_VERSION)},
)

ANNOTATION_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("labels", STRING_MAP),
        ("texts", STRING_MAP),
        ("nfbl", NFBL_LIST),
        ("transcript", pa.string()),
    ],
    metadata={"deemo.kind": "annotation", "deemo.version": str(ANNOTATION_VERSION)},
)
