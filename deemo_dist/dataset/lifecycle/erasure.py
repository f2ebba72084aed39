"""What an erasure will do, as a record: whose keys, which versions and manifests hold them, what becomes of each.

The record is sealed by the caller while the erasure is under way, since it holds the keys that must go.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from deemo_dist.dataset.layout import LONGEST_NAME
from deemo_dist.dataset.lifecycle.purge import Removed
from deemo_dist.dataset.lifecycle.scan import Sought, holds_key
from deemo_dist.dataset.lifecycle.suppression import Row
from deemo_dist.dataset.lifecycle.tombstones import read_tombstone
from deemo_dist.dataset.lifecycle.versions import COMMITTED, TOMBSTONED, UNFINISHED, Version
from deemo_dist.dataset.opened import read_parts
from deemo_dist.errors import CorruptDataError, DatasetError
from deemo_dist.records import IndexRow, LedgerRow
from deemo_dist.records.sample import INDEX_SCHEMA, LEDGER_SCHEMA
from deemo_dist.storage import Store

_SUFFIX = re.compile(r"-e\d+$")


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """A version that holds the person: ``label`` NAME/VERSION, ``new`` what takes its place (None: nothing),
    ``clips`` of the person in its ledger, its digests, and the file names of its shards. ``damaged``: samples of others
    that could not be read, and are rejected in what takes its place."""

    label: str
    new: str | None
    clips: int
    dataset_digest: str = ""
    annotations_digest: str = ""
    shards: tuple[str, ...] = ()
    damaged: int = 0


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
    version is known that has nothing but its header yet.

    ``asked``: a token of who was asked for; ``settled``: False while it was only decided before the lock was held;
    ``unseen``: versions with rejected clips that no manifest explains. The rest is what was done so far: objects
    ``removed``, ``cached`` files, MLflow ``pictures``.
    """

    id: str
    key_id: str
    subjects: tuple[str, ...]
    samples: tuple[str, ...]
    rows: tuple[Row, ...]
    replaced: tuple[Replaced, ...]
    manifests: tuple[ManifestChange, ...] = ()
    begun_from: tuple[str, ...] = ()
    asked: str = ""
    settled: bool = True
    unseen: tuple[str, ...] = ()
    removed: Removed = field(default_factory=Removed)
    cached: int = 0
    pictures: int = 0
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
        rows = columns_of(store, version, IndexRow, "key", "subject_key")
        found.update(key for key, person in rows if person in wanted)
    return frozenset(found)


def with_versions(store: Store, versions: Sequence[Version], erasure: Erasure, *, grown: bool = False) -> Erasure:
    """The erasure with what is to be done about ``versions``, all that there are: those that it knows, as they are now,
    and the others that hold its keys or are begun from what does. ``grown``: it has more keys than when what takes the
    place of its versions was begun, which is begun anew then.

    Raises ``DatasetError`` for a version that ended in favour of one that is not there: its samples would be lost.
    """
    by_label = {version.label: version for version in versions}
    taken = {*by_label, *(each.new for each in erasure.replaced if each.new)}
    known: list[Replaced] = []
    for each in erasure.replaced:
        begun = by_label.get(each.new or "")
        if grown and begun is not None and begun.state == UNFINISHED:
            known.append(_replaced(begun, None, 0))
            each = replace(each, new=successor_name(each.label, taken))
        known.append(_as_it_is(store, by_label.get(each.label), each, frozenset(erasure.samples), taken))
    late = affected(store, versions, erasure.subjects, erasure.samples, begun_from=erasure.begun_from, known=known)
    return replace(erasure, replaced=(*known, *late))


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
    that are ``known`` are passed over, and what takes their place while it is being made."""
    sought, keys, manifests = Sought.of((*subjects, *samples)), frozenset(samples), frozenset(begun_from)
    by_label = {version.label: version for version in versions}
    before, made = {each.label for each in known}, {each.new for each in known if each.new}
    taken = {*by_label, *made}
    looked = [
        version
        for version in versions
        if version.label not in before and not (version.label in made and version.state == UNFINISHED)
    ]
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
        _refuse_orphan(version, by_label)
        new = successor_name(version.label, taken) if clips and _others(store, version, keys) else None
        found.append(_replaced(version, new, clips))
    return found


def _replaced(version: Version, new: str | None, clips: int) -> Replaced:
    return Replaced(
        label=version.label,
        new=new,
        clips=clips,
        dataset_digest=version.info.dataset_digest if version.info else "",
        annotations_digest=version.info.annotations_digest if version.info else "",
        shards=tuple(key.rpartition("/")[2] for key in version.entries if "/shards/" in key),
    )


def _as_it_is(
    store: Store, version: Version | None, each: Replaced, samples: frozenset[str], taken: set[str]
) -> Replaced:
    """A version that is known: one that was committed since gets something that takes its place."""
    if version is None or version.state != COMMITTED:
        return each
    new = each.new
    if new is None and _others(store, version, samples):
        new = successor_name(version.label, taken)
    return replace(_replaced(version, new, _clips(store, version, samples)), damaged=each.damaged)


def _refuse_orphan(version: Version, by_label: dict[str, Version]) -> None:
    """Raise ``DatasetError`` for a tombstoned version whose successor was never made: nothing else has its samples."""
    stone = version.tombstone
    for _ in by_label:
        if stone is None or stone.replaced_by is None:
            return
        after = by_label.get(stone.replaced_by)
        if after is not None and after.state == COMMITTED:
            return
        if after is None or after.state != TOMBSTONED:
            break
        stone = after.tombstone
    assert stone is not None
    raise DatasetError(
        f"{version.label} ended in favour of {stone.replaced_by}, which is not there: removing it would lose everybody",
        hint="finish what was to make that version; or remove the tombstone, and run this again",
    )


def columns_of(
    store: Store, version: Version, kind: type[IndexRow | LedgerRow], *names: str
) -> Iterator[tuple[Any, ...]]:
    """Columns of a committed version's index or ledger, row by row; of one that ended since it was listed, nothing."""
    if version.info is None or version.state != COMMITTED:
        return iter(())
    parts, schema = (version.info.index, INDEX_SCHEMA) if kind is IndexRow else (version.info.ledger, LEDGER_SCHEMA)
    try:
        rows = read_parts(store, kind, parts, schema)
    except CorruptDataError:
        if read_tombstone(store, version.prefix) is None:
            raise
        return iter(())
    return zip(*(rows.column(name).to_pylist() for name in names), strict=True)


def _clips(store: Store, version: Version, samples: frozenset[str]) -> int:
    """How many of the clips stand in the ledger of a committed version."""
    return sum(key in samples for (key,) in columns_of(store, version, LedgerRow, "key"))


def _others(store: Store, version: Version, samples: frozenset[str]) -> bool:
    """Whether a committed version has samples of other people."""
    return any(key not in samples for (key,) in columns_of(store, version, IndexRow, "key"))


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


def successor_name(label: str, taken: set[str]) -> str:
    """A name for what takes a version's place, ``taken`` from then on: ``v1`` becomes ``v1-e1``, that ``v1-e2``; one
    that would be too long for storage loses its end before that."""
    base = _SUFFIX.sub("", label)
    new = next(one for number in range(1, 10_000) if (one := _with_suffix(base, f"-e{number}")) not in taken)
    taken.add(new)
    return new


def _with_suffix(label: str, suffix: str) -> str:
    name, _, version = label.partition("/")
    return f"{name}/{version[: LONGEST_NAME - len(suffix)]}{suffix}"
