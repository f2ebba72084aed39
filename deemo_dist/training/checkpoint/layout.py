"""Names and records of a checkpoint, and the laws by which a parameter is cut over ranks. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deemo_dist.digests import canonical_json, digest_of, sha256_bytes
from deemo_dist.errors import CheckpointError, CorruptDataError

FORMAT = 1
CONTENT = "content"
"""Where a commit's ``extra`` keeps the digest of what its files hold."""
KINDS = ("fp32", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """Elements [offset, offset + numel) of the flattened parameter ``name`` of ``shape``, in group ``group``."""

    name: str
    offset: int
    numel: int
    shape: tuple[int, ...]
    group: int


@dataclass(frozen=True, kw_only=True)
class PartFile:
    """A safetensors file of a rank: its key, size in bytes, hex SHA-256, and the fragments in it, each three tensors
    ``{name}/fp32``, ``{name}/exp_avg`` and ``{name}/exp_avg_sq``, float32 [numel]."""

    key: str
    size: int
    sha256: str
    fragments: tuple[Fragment, ...]


@dataclass(frozen=True, kw_only=True)
class RankReceipt:
    """What one rank has put."""

    rank: int
    world: int
    step: int
    attempt: int
    parts: tuple[PartFile, ...]
    version: int = FORMAT


@dataclass(frozen=True, kw_only=True)
class ReceiptRef:
    """A rank's receipt as the commit names it."""

    key: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Commit:
    """An immutable commit: ``step`` steps are done. ``state``: the loop's numbers (updates applied, skipped, best)."""

    stage_key: str
    step: int
    attempt: int
    world: int
    final: bool
    receipts: tuple[ReceiptRef, ...]
    state: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    version: int = FORMAT


def tag(step: int, attempt: int) -> str:
    """Name of a checkpoint: sorts by step, then by attempt."""
    return f"{step:08d}-{attempt:04d}"


def commit_key(prefix: str, step: int, attempt: int) -> str:
    """Key of a commit."""
    return f"{prefix}/commits/{tag(step, attempt)}.json"


def receipt_key(prefix: str, step: int, attempt: int, rank: int) -> str:
    """Key of a rank's receipt."""
    return f"{prefix}/checkpoints/{tag(step, attempt)}/rank-{rank:05d}.json"


def part_key(prefix: str, step: int, attempt: int, rank: int, part: int) -> str:
    """Key of a rank's safetensors file."""
    return f"{prefix}/checkpoints/{tag(step, attempt)}/rank-{rank:05d}-{part:03d}.safetensors"


def partition(numel: int, world: int, rank: int) -> tuple[int, int]:
    """ZeRO-3's law: rank ``rank`` of ``world`` owns ``(offset, count)`` of a flat parameter, equal parts of
    ceil(numel / world) elements, the last ones short or empty."""
    size = -(-numel // world)
    start = min(rank * size, numel)
    return start, min(size, numel - start)


def overlap(offset: int, count: int, other_offset: int, other_count: int) -> tuple[int, int]:
    """Common part ``(offset, count)`` of two ranges; ``count`` is 0 when they do not meet."""
    start = max(offset, other_offset)
    return start, max(0, min(offset + count, other_offset + other_count) - start)


def content_of(receipts: Iterable[RankReceipt]) -> str:
    """Hex SHA-256 of what a checkpoint's files hold: the same for the same state cut among as many ranks, whichever
    attempt saved it."""
    return digest_of([[part.fragments, part.sha256] for receipt in receipts for part in receipt.parts])


def state_digest(commit: Commit) -> str:
    """Hex SHA-256 that stands for a commit's state: of its content, or of a commit of before that was kept itself."""
    return str(commit.extra.get(CONTENT) or sha256_bytes(to_json(commit)))


def to_json(record: Commit | RankReceipt) -> bytes:
    """Canonical JSON of a record."""
    return canonical_json(record)


def receipt_from_json(data: bytes, where: str) -> RankReceipt:
    """Parse a receipt. Raises ``CorruptDataError``."""
    raw = _parse(data, where)
    try:
        parts = tuple(
            PartFile(**{**part, "fragments": tuple(_fragment(item) for item in part["fragments"])})
            for part in raw["parts"]
        )
        return RankReceipt(**{**raw, "parts": parts})
    except (KeyError, TypeError) as error:
        raise CorruptDataError(f"{where}: not a checkpoint receipt: {error}") from error


def commit_from_json(data: bytes, where: str) -> Commit:
    """Parse a commit. Raises ``CorruptDataError``, and ``CheckpointError`` for one of a newer format."""
    raw = _parse(data, where)
    try:
        return Commit(**{**raw, "receipts": tuple(ReceiptRef(**item) for item in raw["receipts"])})
    except (KeyError, TypeError) as error:
        raise CorruptDataError(f"{where}: not a checkpoint commit: {error}") from error


def _fragment(raw: Mapping[str, Any]) -> Fragment:
    return Fragment(**{**raw, "shape": tuple(raw["shape"])})


def _parse(data: bytes, where: str) -> dict[str, Any]:
    try:
        raw = json.loads(data)
    except ValueError as error:
        raise CorruptDataError(f"{where}: not JSON (half-written?)") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("version"), int):
        raise CorruptDataError(f"{where}: no format version")
    if raw["version"] > FORMAT:
        raise CheckpointError(
            f"{where}: written in format {raw['version']}, this program reads up to {FORMAT}",
            hint="update deemo_dist",
        )
    return raw
