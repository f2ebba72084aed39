"""Digests: SHA-256 over bytes, and over canonical JSON of plain data."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any


def sha256_bytes(data: bytes | bytearray | memoryview) -> str:
    """Hex SHA-256 of ``data`` (64 characters)."""
    return hashlib.sha256(data).hexdigest()


def plain(value: Any) -> Any:
    """Turn dataclasses, tuples and mappings into what JSON can say; raises ``TypeError`` for anything else."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"not plain data: {type(value).__name__}")


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces; NaN and infinities are refused (``ValueError``)."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest_of(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of ``value``: the same for equal data, whatever the order of its keys."""
    return sha256_bytes(canonical_json(value))


def digest_of_rows(rows: Iterable[Any]) -> str:
    """Hex SHA-256 over rows in their order, one canonical JSON line each, in constant memory."""
    state = hashlib.sha256()
    for row in rows:
        state.update(canonical_json(row))
        state.update(b"\n")
    return state.hexdigest()
