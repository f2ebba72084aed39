"""Tombstones: a version that must not be read any more says so, for as long as its name exists."""

from dataclasses import dataclass
from datetime import UTC, datetime

from deemo_dist.dataset.codec import check_version, from_plain, parse_json
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.layout import tombstone_key
from deemo_dist.digests import canonical_json
from deemo_dist.errors import AlreadyExistsError, DatasetError, NotFoundError

TOMBSTONE_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """Why a version ended (``erasure``, ``rotation``), when (ISO 8601), and ``NAME/VERSION`` of what took its place."""

    why: str
    at: str
    replaced_by: str | None = None
    version: int = TOMBSTONE_VERSION


def put_tombstone(store: Door, prefix: str, *, why: str, replaced_by: str | None) -> None:
    """Refuse the version at ``prefix`` from now on. The first tombstone stands."""
    stone = Tombstone(why=why, at=datetime.now(UTC).isoformat(timespec="seconds"), replaced_by=replaced_by)
    try:
        store.put_new(tombstone_key(prefix), canonical_json(stone))
    except AlreadyExistsError:
        return


def read_tombstone(store: Door, prefix: str) -> Tombstone | None:
    """The tombstone of a version, None where it has none. Raises ``CorruptDataError`` for a damaged one."""
    key = tombstone_key(prefix)
    try:
        value = parse_json(store.get(key), key)
    except NotFoundError:
        return None
    check_version("tombstone", int(value.get("version", 0)), TOMBSTONE_VERSION, key)
    return from_plain(Tombstone, value, key)


def refuse_tombstoned(store: Door, prefix: str) -> None:
    """Raise ``DatasetError`` where the version at ``prefix`` has a tombstone."""
    stone = read_tombstone(store, prefix)
    if stone is None:
        return
    _, name, version = prefix.split("/")
    where = (
        f"use data.name={stone.replaced_by.split('/')[0]} data.version={stone.replaced_by.split('/')[1]}"
        if (stone.replaced_by)
        else "nothing took its place"
    )
    raise DatasetError(
        f"dataset {name}/{version} is tombstoned ({stone.why}, {stone.at[:10]}): nothing may read it any more",
        hint=f"{where}; what was trained on it is to be retrained or retired",
    )
