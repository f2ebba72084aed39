"""``header.json`` and ``dataset.json``: what a version was begun with, and what it became."""

from dataclasses import dataclass, field, fields

from deemo_dist.dataset.codec import check_version, from_plain, parse_json
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.layout import DATASET_VERSION, dataset_prefix, header_key, info_key
from deemo_dist.dataset.lifecycle.tombstones import refuse_tombstoned
from deemo_dist.digests import canonical_json
from deemo_dist.errors import AlreadyExistsError, DatasetError, NotFoundError
from deemo_dist.records.receipt import RECEIPT_VERSION
from deemo_dist.records.sample import ANNOTATION_VERSION, INDEX_VERSION, LEDGER_VERSION


def schema_versions() -> dict[str, int]:
    """Format versions of everything that a dataset holds."""
    return {
        "receipt": RECEIPT_VERSION,
        "index": INDEX_VERSION,
        "ledger": LEDGER_VERSION,
        "annotation": ANNOTATION_VERSION,
    }


OLDEST = {"index": 2}
"""Formats that are still read, where not all are: what an older one does not say cannot be attested."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A version that another was made from."""

    name: str
    version: str
    dataset_digest: str


@dataclass(frozen=True, kw_only=True)
class Derivation:
    """How a version came from others: ``how`` is merge, filter, erase or rotate. ``names``: the dataset names whose
    sub-keys made its keys; ``erased``: clips that were erased from what it came from, a count without keys;
    ``voices_key_id``: the key whose parameters its disguised voices still have, where that is not the header's."""

    how: str
    sources: tuple[Source, ...]
    names: tuple[str, ...]
    erased: int = 0
    condition: str = ""
    voices_key_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetHeader:
    """What makes a version what it is: manifest, its cut into units, policy, key. ``strength``: strong or weak (not
    de-identified), and ``weaknesses``: why, one clause each; ``derived``: None where preprocessing made it; ``order``:
    by what its clips are sorted, ``key`` or, in versions of before, ``manifest``: who knows that one's order knows
    there whose each key is."""

    manifest_digest: str
    units: int
    clips: int
    shard_bytes: int
    policy: str
    policy_digest: str
    key_id: str
    strength: str
    demo_key: bool = False
    weaknesses: tuple[str, ...] = field(default=(), compare=False)
    derived: Derivation | None = None
    order: str = "manifest"


@dataclass(frozen=True, kw_only=True)
class PartFile:
    """One Parquet part: its key, rows, and hex SHA-256 (guards the bytes; no other digest is taken over them)."""

    key: str
    rows: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """``dataset.json``. ``dataset_digest`` is taken over canonical rows (index, ledger, tars), ``annotations_digest``
    over the overlay's rows by key; ``toolchains`` are those the receipts name; ``bytes`` counts the shards';
    ``statistics``: what the work cost by stage (see :func:`deemo_dist.dataset.costs.total_costs`)."""

    name: str
    version: str
    header: DatasetHeader
    clips: int
    samples: int
    rejected: int
    shards: int
    bytes: int
    dataset_digest: str
    annotations_digest: str
    toolchains: tuple[str, ...]
    index: tuple[PartFile, ...]
    ledger: tuple[PartFile, ...]
    annotations: tuple[PartFile, ...]
    statistics: dict[str, float] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=schema_versions)
    format: int = DATASET_VERSION

    @property
    def prefix(self) -> str:
        """The version's prefix in the store."""
        return dataset_prefix(self.name, self.version)


def begin_version(store: Door, name: str, version: str, header: DatasetHeader) -> bool:
    """Claim a version for a manifest, a policy and a key; True when it is new, False when it was begun alike.

    Raises ``DatasetError`` when the version holds, or was begun for, something else: units of two policies or two
    manifests never meet in one version. So it does when the version is tombstoned.
    """
    refuse_tombstoned(store, dataset_prefix(name, version))
    key = header_key(dataset_prefix(name, version))
    try:
        store.put_new(key, canonical_json(header))
        return True
    except AlreadyExistsError:
        found = from_plain(DatasetHeader, parse_json(store.get(key), key), key)
    names = [each.name for each in fields(header) if each.compare]
    changed = [name for name in names if getattr(header, name) != getattr(found, name)]
    if changed:
        raise DatasetError(
            f"dataset {name}/{version} was begun with another {', '.join(changed)}",
            hint="set another data.version (or data.name): a version never changes",
        )
    return False


def read_info(store: Door, name: str, version: str) -> DatasetInfo:
    """``dataset.json`` of a version. Raises ``DatasetError`` where it is not complete, tombstoned or too new."""
    refuse_tombstoned(store, dataset_prefix(name, version))
    return read_ended(store, name, version)


def read_ended(store: Door, name: str, version: str) -> DatasetInfo:
    """As :func:`read_info`, of a tombstoned version too: for what takes its place or removes it."""
    key = info_key(dataset_prefix(name, version))
    try:
        data = store.get(key)
    except NotFoundError:
        raise DatasetError(
            f"dataset {name}/{version} is not there or not complete", hint="run `deemo preprocess` for it"
        ) from None
    value = parse_json(data, key)
    check_version("dataset", int(value.get("format", 0)), DATASET_VERSION, key)
    for kind, known in schema_versions().items():
        found = int(value.get("versions", {}).get(kind, 0))
        check_version(kind, found, known, key)
        if found < OLDEST.get(kind, 0):
            raise DatasetError(
                f"{key}: {kind} of format {found}, whose attestations do not say whether captions were masked",
                hint="preprocess the clips into a new data.version",
            )
    return from_plain(DatasetInfo, value, key)
