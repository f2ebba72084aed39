"""A clip: one raw video with sound and transcript, as a manifest row. Personal data: read by preprocessing only."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

MANIFEST_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class NfblEvent:
    """One Non-Facial Body Language event: ``start``, ``end`` in seconds from the clip's start, ``type`` by ontology.

    ``score``: None for what a person annotated; for what rules proposed, how sure they are (0 to 1).
    """

    start: float
    end: float
    type: str
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A manifest row.

    ``uri`` is file:// or s3://; ``subject`` the raw subject's name or number; ``split`` train, validation or test;
    ``transcript`` None where there is none; ``subgroup`` attributes to report by; ``labels`` closed-set answers
    (emotion: positive); ``texts`` free texts by name (audio_cues, visual_cues, reasoning).
    """

    uri: str
    subject: str
    split: str
    source: str
    size_bytes: int
    transcript: str | None = None
    subgroup: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    nfbl: tuple[NfblEvent, ...] = ()


def plain_subject(subject: str) -> str:
    """A subject by which people are compared: composed signs (NFC), no space around. Keys are of the subject as it is
    written."""
    return unicodedata.normalize("NFC", subject).strip()


STRING_MAP = pa.map_(pa.string(), pa.string())
NFBL_LIST = pa.list_(
    pa.struct([("start", pa.float64()), ("end", pa.float64()), ("type", pa.string()), ("score", pa.float64())])
)

MANIFEST_SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("subject", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("size_bytes", pa.int64()),
        ("transcript", pa.string()),
        ("subgroup", STRING_MAP),
        ("labels", STRING_MAP),
        ("texts", STRING_MAP),
        ("nfbl", NFBL_LIST),
    ],
    metadata={"deemo.kind": "manifest", "deemo.version": str(MANIFEST_VERSION)},
)
