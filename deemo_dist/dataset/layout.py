"""Every key name of the storage layout, in one place. Keys are relative to the project's prefix, ``store.root``."""

import re

from deemo_dist.errors import DatasetError

DATASET_VERSION = 1
LONGEST_NAME = 100
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}")


def checked(name: str) -> str:
    """A name that may stand in a key: letters, digits, ``. _ -``. Raises ``DatasetError`` for anything else."""
    if not _NAME.fullmatch(name):
        raise DatasetError(f"'{name}' cannot be a name in storage", hint="letters, digits, dot, dash and underscore")
    return name


def manifest_key(digest: str) -> str:
    """The manifest of raw clips with this digest."""
    return f"manifests/{digest}.parquet"


def dataset_prefix(name: str, version: str) -> str:
    """Prefix of one version of a dataset, without a slash at its end."""
    return f"datasets/{checked(name)}/{checked(version)}"


def header_key(prefix: str) -> str:
    """What a version was begun with (manifest, policy): put once, before the first unit."""
    return f"{prefix}/header.json"


def info_key(prefix: str) -> str:
    """``dataset.json``: written last, so its presence means that the version is complete."""
    return f"{prefix}/dataset.json"


def tombstone_key(prefix: str) -> str:
    """Says that a version may not be read any more."""
    return f"{prefix}/tombstone.json"


def shard_name(unit: int, digest: str) -> str:
    """File name of a unit's shard: its number and the first 16 hex digits of its digest."""
    return f"{unit:05d}-{digest[:16]}.tar"


def shard_key(prefix: str, name: str) -> str:
    """A shard by its file name."""
    return f"{prefix}/shards/{name}"


def shards_prefix(prefix: str) -> str:
    """What all shards of a version start with."""
    return f"{prefix}/shards/"


def receipt_key(prefix: str, unit: int) -> str:
    """The receipt of a unit."""
    return f"{prefix}/receipts/{unit:05d}.json"


def receipts_prefix(prefix: str) -> str:
    """What all receipts of a version start with."""
    return f"{prefix}/receipts/"


def index_key(prefix: str, part: int) -> str:
    """A part of the index."""
    return f"{prefix}/index/{part:05d}.parquet"


def ledger_key(prefix: str, part: int) -> str:
    """A part of the ledger."""
    return f"{prefix}/ledger/{part:05d}.parquet"


def annotations_key(digest: str, part: int) -> str:
    """A part of an overlay of annotations."""
    return f"annotations/{digest}/{part:05d}.parquet"


def suppressed_prefix(key_id: str) -> str:
    """Who was withdrawn, for the root key of this id: an object a withdrawal."""
    return f"suppressed/{key_id}"


def suppressed_key(key_id: str, digest: str) -> str:
    """One withdrawal, by the digest of its rows."""
    return f"{suppressed_prefix(key_id)}/{digest[:16]}.jsonl"


def suppressed_once_key(key_id: str) -> str:
    """Where all rows stood together before each withdrawal had an object of its own; still read."""
    return f"{suppressed_prefix(key_id)}.jsonl"


def lengths_key(digest: str) -> str:
    """A table of example lengths."""
    return f"lengths/{digest}.parquet"


def plan_key(digest: str) -> str:
    """The tabulated pack counts of a step plan."""
    return f"plans/{digest}/windows.json"
