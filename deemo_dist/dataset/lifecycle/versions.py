"""All versions of all datasets under a prefix, by one listing and two small reads each."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from deemo_dist.dataset.codec import from_plain, parse_json
from deemo_dist.dataset.info import DatasetHeader, DatasetInfo
from deemo_dist.dataset.layout import dataset_prefix, header_key, info_key, receipts_prefix, tombstone_key
from deemo_dist.dataset.lifecycle.tombstones import Tombstone, read_tombstone
from deemo_dist.errors import DatasetError, DeemoError
from deemo_dist.storage import Store, Stored

T = TypeVar("T")
COMMITTED, TOMBSTONED, UNFINISHED, DAMAGED = "committed", "tombstoned", "unfinished", "damaged"


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version as it stands. ``state``: committed, tombstoned, unfinished (``receipts`` of the header's units are
    there) or damaged (``fault`` says how). ``entries``: everything below its prefix, by key."""

    name: str
    version: str
    state: str
    header: DatasetHeader | None = None
    info: DatasetInfo | None = None
    tombstone: Tombstone | None = None
    receipts: int = 0
    fault: str = ""
    entries: Mapping[str, Stored] = field(default_factory=dict, repr=False)

    @property
    def prefix(self) -> str:
        """The version's prefix in the store."""
        return dataset_prefix(self.name, self.version)

    @property
    def label(self) -> str:
        """``NAME/VERSION``, as verbs take it."""
        return f"{self.name}/{self.version}"

    @property
    def bytes(self) -> int:
        """Bytes of everything below its prefix."""
        return sum(stored.size for stored in self.entries.values())


def list_versions(store: Store) -> list[Version]:
    """Every version, by name and version."""
    found: dict[tuple[str, str], dict[str, Stored]] = defaultdict(dict)
    for stored in store.entries("datasets"):
        parts = stored.key.split("/")
        if len(parts) > 3:
            found[parts[1], parts[2]][stored.key] = stored
    return [_version(store, name, version, entries) for (name, version), entries in sorted(found.items())]


def _version(store: Store, name: str, version: str, entries: Mapping[str, Stored]) -> Version:
    prefix = f"datasets/{name}/{version}"
    receipts = sum(key.startswith(receipts_prefix(prefix)) for key in entries)
    fault, header, info = "", None, None
    stone = read_tombstone(store, prefix) if tombstone_key(prefix) in entries else None
    try:
        if header_key(prefix) in entries:
            header = _read(store, DatasetHeader, header_key(prefix))
        if info_key(prefix) in entries:
            info = _read(store, DatasetInfo, info_key(prefix))
            header = info.header
    except DeemoError as error:
        fault = error.message
    state = TOMBSTONED if stone else DAMAGED if fault else COMMITTED if info else UNFINISHED
    return Version(
        name=name,
        version=version,
        state=state,
        header=header,
        info=info,
        tombstone=stone,
        receipts=receipts,
        fault=fault,
        entries=entries,
    )


def _read(store: Store, kind: type[T], key: str) -> T:
    return from_plain(kind, parse_json(store.get(key), key), key)


def named(text: str) -> tuple[str, str]:
    """``NAME/VERSION`` as its two parts. Raises ``DatasetError`` for anything else."""
    name, slash, version = text.partition("/")
    if not (name and slash and version) or "/" in version:
        raise DatasetError(f"'{text}' names no version of a dataset", hint="write NAME/VERSION, such as demo/v1")
    dataset_prefix(name, version)
    return name, version


def key_names(name: str, header: DatasetHeader) -> tuple[str, ...]:
    """The dataset names under whose sub-keys a version's keys were made: its own where preprocessing made it."""
    return header.derived.names if header.derived else (name,)
