"""What a rank really fed to the model in one step: the rows of the consumption ledger."""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from deemo_dist.digests import sha256_bytes

CONSUMED_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ConsumedRow:
    """One step of one rank: ``keys_digest`` is of the sample keys it fed, in their order (:func:`keys_digest`)."""

    attempt: int
    step: int
    rank: int
    world: int
    plan_digest: str
    keys_digest: str
    samples: int


def keys_digest(keys: Iterable[str]) -> str:
    """Hex SHA-256 of sample keys, a line each."""
    return sha256_bytes("".join(f"{key}\n" for key in keys).encode())


CONSUMED_SCHEMA = pa.schema(
    [
        ("attempt", pa.int64()),
        ("step", pa.int64()),
        ("rank", pa.int64()),
        ("world", pa.int64()),
        ("plan_digest", pa.string()),
        ("keys_digest", pa.string()),
        ("samples", pa.int64()),
    ],
    metadata={"deemo.kind": "consumed", "deemo.version": str(CONSUMED_VERSION)},
)
