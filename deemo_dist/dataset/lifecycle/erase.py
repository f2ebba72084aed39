"""Erasing a person from every dataset under a prefix, in steps that may be interrupted and run again.

What is to be done is decided once and kept as an :class:`Erasure` (sealed by the caller while it is under way, since it
holds the keys that must go). Each step looks at what is there and does the rest. What a step removes is removed with
all its older versions.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from deemo_dist.dataset.info import read_ended
from deemo_dist.dataset.layout import dataset_prefix, info_key, tombstone_key
from deemo_dist.dataset.lifecycle.combine import derived_header, receipts_of
from deemo_dist.dataset.lifecycle.derive import Part, derive
from deemo_dist.dataset.lifecycle.purge import Removed, purge
from deemo_dist.dataset.lifecycle.scan import Scan, Sought, holds_key, scan
from deemo_dist.dataset.lifecycle.suppression import Row, read_suppressed
from deemo_dist.dataset.lifecycle.tombstones import put_tombstone
from deemo_dist.dataset.lifecycle.versions import COMMITTED, Version, list_versions, named
from deemo_dist.dataset.opened import read_parts
from deemo_dist.dataset.receipts import committed_units, read_receipt
from deemo_dist.errors import DatasetError
from deemo_dist.records import IndexRow, LedgerRow
from deemo_dist.records.sample import INDEX_SCHEMA, LEDGER_SCHEMA
from deemo_dist.storage import Store, Stored

SCANS = 3
_SUFFIX = re.compile(r"-e\d+$")


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """A version that holds the person: ``label`` NAME/VERSION, ``new`` what takes its place (None: nothing),
    ``clips`` of the person in its ledger, its digests, and the file names of its shards."""

    label: str
    new: str | None
    clips: int
    dataset_digest: str = ""
    annotations_digest: str = ""
    shards: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ManifestChange:
    """A manifest in the store that names the person, and what it becomes (None: nothing is left). Keys."""

    old: str
    new: str | None
    old_digest: str
    new_digest: str | None


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """All that an erasure will do: the person's subject and sample keys, the ``rows`` that keep the person out from now
    on, the versions and manifests concerned. ``begun_from``: digests of manifests that name the person, by which a
    version is known that has nothing but its header yet."""

    id: str
    key_id: str
    subjects: tuple[str, ...]
    samples: tuple[str, ...]
    rows: tuple[Row, ...]
    replaced: tuple[Replaced, ...]
    manifests: tuple[ManifestChange, ...] = ()
    begun_from: tuple[str, ...] = ()
    version: int = 1

    @property
    def sought(self) -> Sought:
        """What nothing may hold afterwards."""
        return Sought.of((*self.subjects, *self.samples))


def samples_of(store: Store, versions: Sequence[Version], subjects: Iterable[str]) -> frozenset[str]:
    """Sample keys of people in the indexes of committed versions."""
    wanted = frozenset(subjects)
    found: set[str] = set()
    for version in versions:
        if version.info is not None and version.state == COMMITTED:
            index = read_parts(store, IndexRow, version.info.index, INDEX_SCHEMA)
            keys, people = index.column("key").to_pylist(), index.column("subject_key").to_pylist()
            found.update(key for key, person in zip(keys, people, strict=True) if person in wanted)
    return frozenset(found)


def affected(
    store: Store,
    versions: Sequence[Version],
    subjects: Iterable[str],
    samples: Iterable[str],
    *,
    begun_from: Iterable[str] = (),
    known: Iterable[Replaced] = (),
) -> list[Replaced]:
    """The versions that hold one of the keys, with what will take the place of each; and the unfinished ones that were
    begun from one of the manifests ``begun_from``, or from a version that holds one: what is being made will. Those
    that are ``known``, and what takes their place, are passed over."""
    sought, keys, manifests = Sought.of((*subjects, *samples)), frozenset(samples), frozenset(begun_from)
    taken = {version.label for version in versions}
    before = {each.label for each in known}
    passed = before | {each.new for each in known}
    looked = [version for version in versions if version.label not in passed]
    clips_in = {version.label: _clips(store, version, keys) for version in looked}
    sources = before | {label for label, clips in clips_in.items() if clips}
    found: list[Replaced] = []
    for version in looked:
        clips = clips_in[version.label]
        if not clips and (
            version.state == COMMITTED
            or not (_begun_from(version, manifests, sources) or _anywhere(store, version, sought))
        ):
            continue
        new = None
        if version.info is not None and version.state == COMMITTED and _others(store, version, keys):
            new = _free(version, taken)
            taken.add(new)
        found.append(
            Replaced(
                label=version.label,
                new=new,
                clips=clips,
                dataset_digest=version.info.dataset_digest if version.info else "",
                annotations_digest=version.info.annotations_digest if version.info else "",
                shards=tuple(key.rpartition("/")[2] for key in version.entries if "/shards/" in key),
            )
        )
    return found


def with_latecomers(store: Store, erasure: Erasure) -> Erasure:
    """The erasure with the versions that were begun or committed since it was decided, by jobs that had read the
    suppression list before the person was on it."""
    late = affected(
        store,
        list_versions(store),
        erasure.subjects,
        erasure.samples,
        begun_from=erasure.begun_from,
        known=erasure.replaced,
    )
    return replace(erasure, replaced=(*erasure.replaced, *late)) if late else erasure


def bury(store: Store, erasure: Erasure) -> None:
    """Tombstone every version that holds the person: from here on nothing reads it."""
    for each in erasure.replaced:
        put_tombstone(store, dataset_prefix(*named(each.label)), why="erasure", replaced_by=each.new)


def replace_versions(store: Store, erasure: Erasure, on_unit: Callable[[], object] = lambda: None) -> None:
    """Make the versions without the person; those that are made already stay."""
    gone, withdrawn = frozenset(erasure.samples), read_suppressed(store, erasure.key_id)
    manifests = {each.old_digest: each.new_digest for each in erasure.manifests}
    for each in erasure.replaced:
        if each.new is None or store.exists(info_key(dataset_prefix(*named(each.new)))):
            continue
        info = read_ended(store, *named(each.label))
        parts = [
            Part(
                source=info.prefix,
                receipt=receipt,
                ledger=tuple(row for row in receipt.ledger if row.key not in gone | withdrawn.of_receipt(receipt)),
            )
            for receipt in receipts_of(store, info)
        ]
        clips = sum(len(part.ledger) for part in parts)
        header = derived_header(
            "erase",
            info,
            clips=clips,
            erased=info.clips - clips,
            manifest_digest=manifests.get(info.header.manifest_digest),
        )
        derive(store, *named(each.new), header, parts, on_unit)


def purge_replaced(store: Store, erasure: Erasure) -> Removed:
    """Remove all objects of the tombstoned versions but the tombstones, and overlays that no version refers to."""
    removed = Removed()
    for each in erasure.replaced:
        prefix = dataset_prefix(*named(each.label))
        removed += purge(store, prefix, keep=tombstone_key(prefix))
    used = {version.info.annotations_digest for version in list_versions(store) if version.info}
    for digest in {each.annotations_digest for each in erasure.replaced} - used - {""}:
        removed += purge(store, f"annotations/{digest}")
    return removed


def sweep(store: Store, sought: Sought, on_object: Callable[[], object] = lambda: None) -> tuple[Removed, Scan]:
    """Search everything under the prefix; remove what may go (older versions, half-written files, shards that no
    receipt names, reports and results), and search again until nothing is found: the last search is the proof.

    Raises ``DatasetError`` where a key stands in something that is not to be removed unasked.
    """
    removed = Removed()
    for _ in range(SCANS):
        proof = scan(store, sought, on_object=on_object)
        if not proof.found:
            return removed, proof
        kept = [stored.key for stored in proof.found if not _may_go(store, stored)]
        if kept:
            raise DatasetError(
                f"the erasure is not proved: {len(kept)} objects still hold a key of the person (first: {kept[0]})",
                hint="is it a copy that somebody made? Remove it and run the same command again",
            )
        for stored in proof.found:
            store.remove(stored)
            removed += Removed(1, stored.size)
    raise DatasetError("somebody writes the person's keys while they are erased", hint="stop the jobs, run it again")


def _may_go(store: Store, stored: Stored) -> bool:
    """Whether an object is no more than a trace: nothing that is committed refers to it."""
    parts = stored.key.split("/")
    if not stored.current or parts[-1].endswith(".tmp") or parts[0] == "runs":
        return True
    if parts[0] != "datasets" or len(parts) < 5:
        return False
    if parts[3] == "shards":
        prefix = "/".join(parts[:3])
        tars = (read_receipt(store, prefix, unit).tar for unit in committed_units(store, prefix))
        return parts[4] not in {tar.name for tar in tars if tar}
    return parts[3] in ("audit", "preview")


def _clips(store: Store, version: Version, samples: frozenset[str]) -> int:
    """How many of the clips stand in the ledger of a committed version."""
    if version.info is None or version.state != COMMITTED:
        return 0
    ledger = read_parts(store, LedgerRow, version.info.ledger, LEDGER_SCHEMA)
    return sum(key in samples for key in ledger.column("key").to_pylist())


def _others(store: Store, version: Version, samples: frozenset[str]) -> bool:
    """Whether a version has samples of other people."""
    assert version.info is not None
    index = read_parts(store, IndexRow, version.info.index, INDEX_SCHEMA)
    return any(key not in samples for key in index.column("key").to_pylist())


def _begun_from(version: Version, manifests: frozenset[str], sources: set[str]) -> bool:
    """Whether an unfinished version is being made of one of the manifests, or of one of the versions."""
    if version.header is None:
        return False
    made_of = version.header.derived
    if made_of is None:
        return version.header.manifest_digest in manifests
    return any(f"{source.name}/{source.version}" in sources for source in made_of.sources)


def _anywhere(store: Store, version: Version, sought: Sought) -> bool:
    """Whether anything below an uncommitted version holds a key."""
    return any(holds_key(store, stored, sought) for stored in version.entries.values())


def _free(version: Version, taken: set[str]) -> str:
    """A name for what takes a version's place: ``v1`` becomes ``v1-e1``, that ``v1-e2``."""
    base = f"{version.name}/{_SUFFIX.sub('', version.version)}"
    return next(label for number in range(1, 10_000) if (label := f"{base}-e{number}") not in taken)
