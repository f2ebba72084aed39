"""What a rank really fed to the model in one step: the rows of the consumption ledger."""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from deemo_dist.digests import sha256_bytes

CONSUMED_VERSION = 2
"""1: ``keys_digest`` is of sample keys without their tasks, and there are no ``examples``."""


@dataclass(frozen=True, kw_only=True)
class ConsumedRow:
    """One step of one rank: ``keys_digest`` is of the names of the examples it fed (:func:`fed_name`), in their order;
    ``examples`` are their marks (:func:`mark`), from which an audit says which ones differ. ``version``: the format it
    was written in."""

    attempt: int
    step: int
    rank: int
    world: int
    plan_digest: str
    keys_digest: str
    samples: int
    examples: tuple[int, ...] = ()
    version: int = CONSUMED_VERSION


def fed_name(key: str, task: str) -> str:
    """What the ledger calls an example: two tasks of one sample are two examples."""
    return f"{key}:{task}"


def keys_digest(names: Iterable[str]) -> str:
    """Hex SHA-256 of names, a line each."""
    return sha256_bytes("".join(f"{name}\n" for name in names).encode())


def mark(name: str) -> int:
    """64 bits of a name's digest: tells examples apart in the ledger, at eight bytes each, without their keys."""
    return int(sha256_bytes(name.encode())[:16], 16)


CONSUMED_SCHEMA = pa.schema(
    [
        ("attempt", pa.int64()),
        ("step", pa.int64()),
        ("rank", pa.int64()),
        ("world", pa.int64()),
        ("plan_digest", pa.string()),
        ("keys_digest", pa.string()),
        ("samples", pa.int64()),
        ("examples", pa.list_(pa.uint64())),
    ],
    metadata={"deemo.kind": "consumed", "deemo.version": str(CONSUMED_VERSION)},
)
