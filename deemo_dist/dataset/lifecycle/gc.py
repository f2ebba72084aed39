"""Garbage: what no commit refers to, and old enough that no running job may still be writing it.

A shard counts once its receipt is put, an overlay once a ``dataset.json`` names it, a checkpoint once its commit is
put; what is left besides comes from processes that died or lost a race. Lengths and plans are measured anew when they
are missed. Ages are told by the store's own clock.
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from deemo_dist.config import StorageConfig
from deemo_dist.dataset.cache import remove_shards
from deemo_dist.dataset.codec import parse_json
from deemo_dist.dataset.layout import tombstone_key
from deemo_dist.dataset.lengths import lengths_of_what
from deemo_dist.dataset.lifecycle.versions import COMMITTED, DAMAGED, TOMBSTONED, Version, list_versions
from deemo_dist.dataset.opened import read_parts
from deemo_dist.dataset.receipts import committed_units, read_receipt
from deemo_dist.errors import CorruptDataError, DeemoError, NotFoundError
from deemo_dist.records import IndexRow
from deemo_dist.records.sample import INDEX_SCHEMA
from deemo_dist.storage import Store, Stored
from deemo_dist.storage.keys import is_temporary

AT_ONCE = 8
HIDING = ("datasets", "annotations")
"""Folders in which nothing that was deleted may stay as an older version: it is personal data."""

CLOCK_STEP = 1.0
"""Seconds: a bucket tells the time of one object in whole ones."""


@dataclass(frozen=True)
class Garbage:
    """Something to remove, and ``why``. ``history``: with all its older versions (it is personal data); ``ended``:
    nothing can refer to it any more, so that only its own time is looked at again."""

    stored: Stored
    why: str
    history: bool = False
    ended: bool = False


def garbage(store: Store, *, older_than: float, plans_in_use: Iterable[str] = ()) -> list[Garbage]:
    """What nothing refers to and was written at least ``older_than`` seconds ago; ``plans_in_use``: digests of plans
    that committed checkpoints name. Raises ``CorruptDataError`` for a version whose parts cannot be read: what it
    refers to is not known then."""
    limit = store.clock() - older_than
    versions = list_versions(store)
    _refuse_damaged(versions)
    found = [each for version in versions for each in _of_version(store, version, limit)]
    found += _overlays(store, versions)
    found += _measured(store, versions, frozenset(plans_in_use))
    found += _checkpoints(store, limit)
    found += _half_written(store) if store.local_path("any") is not None else _hidden(store)
    return [each for each in found if each.stored.modified <= limit]


def collect(store: Store, found: Sequence[Garbage], on_object: Callable[[], object] = lambda: None) -> int:
    """Remove garbage; how many objects were. What was written again since it was found, or is named by a receipt by
    now, stays: each object is looked at right before it is removed."""
    folders: dict[str, list[Garbage]] = defaultdict(list)
    for each in found:
        folders[each.stored.key.rpartition("/")[0]].append(each)
    removed = 0
    for folder, items in folders.items():
        kept = _by_key(store.history(folder)) if any(each.history for each in items) else {}
        for each in items:
            removed += _removed(store, each, kept.get(each.stored.key, ()))
            on_object()
    return removed


def _removed(store: Store, each: Garbage, kept: Sequence[Stored]) -> bool:
    """Remove one piece of garbage, with ``kept``, all that the store has under its key; whether it was."""
    if not (_is_unchanged(each.stored, kept) if each.ended else _is_still_garbage(store, each.stored)):
        return False
    if not each.history:
        store.delete(each.stored.key)
    for stored in kept if each.history else ():
        store.remove(stored)
    return True


def _is_unchanged(found: Stored, kept: Sequence[Stored]) -> bool:
    """Whether nothing newer has come under a key since it was ``found``."""
    current = next((stored for stored in kept if stored.current), None)
    return current is not None and current.modified <= found.modified


def _by_key(entries: Iterable[Stored]) -> Mapping[str, Sequence[Stored]]:
    kept: dict[str, list[Stored]] = defaultdict(list)
    for stored in entries:
        kept[stored.key].append(stored)
    return kept


def _is_still_garbage(store: Store, stored: Stored) -> bool:
    """Whether an object is as it was when it was found, and no receipt has come to name it."""
    try:
        now = store.stat(stored.key)
    except NotFoundError:
        return False
    written_again = now.size != stored.size or now.modified > stored.modified + CLOCK_STEP
    return not written_again and not _is_committed(store, stored.key)


def _is_committed(store: Store, key: str) -> bool:
    """Whether ``key`` is a shard that the receipt of its unit names."""
    parts = key.split("/")
    unit = parts[-1].partition("-")[0]
    if parts[0] != "datasets" or parts[3] != "shards" or not unit.isdigit():
        return False
    try:
        receipt = read_receipt(store, "/".join(parts[:3]), int(unit))
    except NotFoundError:
        return False
    return receipt.tar is not None and receipt.tar.name == parts[-1]


def stale_blocks(store: Store, config: StorageConfig) -> set[str]:
    """Names of shards in this machine's cache that no committed version has."""
    folder = Path(config.cache) / "shards"
    cached = {path.name for path in folder.iterdir() if path.is_dir()} - {"locks"} if folder.is_dir() else set()
    if not cached:
        return set()
    live = {
        key.rpartition("/")[2]
        for version in list_versions(store)
        if version.state == COMMITTED
        for key in version.entries
        if "/shards/" in key
    }
    return cached - live


def drop_blocks(config: StorageConfig, shards: Iterable[str]) -> int:
    """Remove shards' blocks, and their empty folders, from this machine's cache; how many blocks there were."""
    names = list(shards)
    removed = remove_shards(config, names)
    for name in names:
        with contextlib.suppress(OSError):  # not empty or gone: a loader writes into it, or sweeps, at this moment
            (Path(config.cache) / "shards" / name).rmdir()
    return removed


def _refuse_damaged(versions: Sequence[Version]) -> None:
    for version in versions:
        if version.state == DAMAGED:
            raise CorruptDataError(
                f"{version.label}: {version.fault}",
                hint="what it refers to is not known: restore its dataset.json or remove the version first",
            )


def _of_version(store: Store, version: Version, limit: float) -> Iterator[Garbage]:
    """What a version keeps without need."""
    if version.state == TOMBSTONED:
        yield from _of_tombstoned(store, version, limit)
        return
    used = _shards_in_use(store, version)
    parts = {part.key for part in (*version.info.index, *version.info.ledger)} if version.info else None
    for key, stored in version.entries.items():
        kind = key.split("/")[3]
        if kind == "shards" and key.rpartition("/")[2] not in used:
            yield Garbage(stored, "shards that no receipt names", history=True)
        elif kind in ("index", "ledger") and parts is not None and key not in parts:
            yield Garbage(stored, "parts that dataset.json does not name", history=True)


def _of_tombstoned(store: Store, version: Version, limit: float) -> Iterator[Garbage]:
    """All of it but the tombstone, unless an erasure still makes its successor from it."""
    stone = version.entries[tombstone_key(version.prefix)]
    if stone.modified > limit or store.list("erasures/pending"):
        return
    for key, stored in version.entries.items():
        if key != stone.key:
            yield Garbage(stored, "what is left of tombstoned versions", history=True, ended=True)


def _shards_in_use(store: Store, version: Version) -> frozenset[str]:
    """File names of the shards that receipts name."""
    if version.info is not None:
        index = read_parts(store, IndexRow, version.info.index, INDEX_SCHEMA)
        return frozenset(index.column("shard").unique().to_pylist())
    units = sorted(committed_units(store, version.prefix))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        tars = pool.map(lambda unit: read_receipt(store, version.prefix, unit).tar, units)
        return frozenset(tar.name for tar in tars if tar)


def _half_written(store: Store) -> Iterator[Garbage]:
    """Files that nobody put in their place."""
    for stored in store.history(""):
        if is_temporary(stored.key.rpartition("/")[2]):
            yield Garbage(stored, "half-written files of processes that died", history=True, ended=True)


def _hidden(store: Store) -> Iterator[Garbage]:
    """What was deleted in a bucket that keeps versions, and is there behind a marker."""
    for folder in HIDING:
        for kept in _by_key(store.history(folder)).values():
            current = next((stored for stored in kept if stored.current), kept[-1])
            if current.marker or not current.current:
                size = sum(stored.size for stored in kept)
                yield Garbage(replace(current, size=size), "older versions of what was deleted", True, True)


def _overlays(store: Store, versions: Sequence[Version]) -> Iterator[Garbage]:
    """Annotations that no dataset.json names."""
    used = {part.key for version in versions if version.info for part in version.info.annotations}
    for stored in store.entries("annotations"):
        if stored.key not in used:
            yield Garbage(stored, "annotations of no dataset", history=True)


def _measured(store: Store, versions: Sequence[Version], plans: frozenset[str]) -> Iterator[Garbage]:
    """Lengths of datasets that are no more, and plans over them that no checkpoint names. Those that do not say what
    they were measured on (older ones) stay; a plan over several datasets goes with the first of them."""
    live = {version.info.dataset_digest for version in versions if version.info and version.state == COMMITTED}
    gone: set[str] = set()
    for stored in store.entries("lengths"):
        try:
            of_what = lengths_of_what(store.get(stored.key))
        except DeemoError:
            continue
        if of_what and of_what not in live:
            gone.add(stored.key.rpartition("/")[2].removesuffix(".parquet"))
            yield Garbage(stored, "lengths and plans of datasets that are no more")
    kept = {stored.key.rpartition("/")[2].removesuffix(".parquet") for stored in store.entries("lengths")} - gone
    for stored in store.entries("plans"):
        digest = stored.key.split("/")[1]
        if not kept.issuperset(_lengths_of_plan(store, stored.key, gone)) and digest not in plans:
            yield Garbage(stored, "lengths and plans of datasets that are no more")


def _lengths_of_plan(store: Store, key: str, gone: Set[str]) -> Sequence[str]:
    """Digests of the tables of lengths that a plan was made of. An older plan tells one digest alone, which is no
    table's where it is over several datasets or leaves examples out: it counts where it is one of those ``gone``."""
    try:
        said = parse_json(store.get(key), key)
    except DeemoError:
        return ()
    return said.get("measured") or [each for each in [said.get("lengths")] if each in gone]


def _checkpoints(store: Store, limit: float) -> Iterator[Garbage]:
    """Checkpoints without a commit: of an attempt that a later one took over from, or of a run that stands still."""
    runs: dict[str, list[Stored]] = defaultdict(list)
    for stored in store.entries("runs"):
        runs[stored.key.split("/")[1]].append(stored)
    for entries in runs.values():
        newest = max((_attempt(stored.key) for stored in entries if "/attempts/" in stored.key), default=0)
        still = max(stored.modified for stored in entries) <= limit
        committed = {
            (stored.key.split("/")[2], stored.key.rpartition("/")[2].removesuffix(".json"))
            for stored in entries
            if stored.key.split("/")[3:4] == ["commits"]
        }
        yield from _partial(entries, committed, newest, still)


def _partial(entries: Sequence[Stored], committed: set[tuple[str, str]], newest: int, still: bool) -> Iterator[Garbage]:
    for stored in entries:
        parts = stored.key.split("/")
        if len(parts) < 6 or parts[3] != "checkpoints" or (parts[2], parts[4]) in committed:
            continue
        attempt = parts[4].rpartition("-")[2]
        if still or (attempt.isdigit() and int(attempt) < newest):
            yield Garbage(stored, "checkpoints that were never committed")


def _attempt(key: str) -> int:
    stem = key.rpartition("/")[2].removesuffix(".json")
    return int(stem) if stem.isdigit() else 0


def by_reason(found: Sequence[Garbage]) -> Mapping[str, tuple[int, int]]:
    """Objects and bytes by why they are garbage."""
    sums: dict[str, tuple[int, int]] = {}
    for each in found:
        count, size = sums.get(each.why, (0, 0))
        sums[each.why] = count + 1, size + each.stored.size
    return sums
