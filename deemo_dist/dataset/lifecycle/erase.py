"""Erasing a person from every dataset under a prefix, in steps that may be interrupted and run again.

What is to be done is decided once and kept as an :class:`Erasure`. Each step looks at what is there and does the rest,
also what another process that finishes the same erasure has not done yet. What a step removes is removed with all its
older versions.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace

from deemo_dist.dataset.info import DatasetInfo, read_ended
from deemo_dist.dataset.layout import dataset_prefix, info_key, tombstone_key
from deemo_dist.dataset.lifecycle.combine import derived_header, receipts_of
from deemo_dist.dataset.lifecycle.derive import Part, derive
from deemo_dist.dataset.lifecycle.erasure import Erasure, Replaced
from deemo_dist.dataset.lifecycle.purge import Removed, purge
from deemo_dist.dataset.lifecycle.scan import Scan, Sought, scan
from deemo_dist.dataset.lifecycle.suppression import Suppressed, read_suppressed
from deemo_dist.dataset.lifecycle.tombstones import put_tombstone
from deemo_dist.dataset.lifecycle.versions import list_versions, named
from deemo_dist.dataset.opened import read_parts
from deemo_dist.dataset.receipts import committed_units, read_receipt
from deemo_dist.errors import DamagedSampleError, DatasetError, DeemoError
from deemo_dist.records import LedgerRow
from deemo_dist.records.sample import LEDGER_SCHEMA
from deemo_dist.storage import Store, Stored

SCANS = 3
UNREADABLE = "erase"
"""The stage at which a sample is rejected that could not be read when its shard was written anew."""


def bury(store: Store, erasure: Erasure) -> None:
    """Tombstone every version that holds the person: from here on nothing reads it."""
    for each in erasure.replaced:
        put_tombstone(store, dataset_prefix(*named(each.label)), why="erasure", replaced_by=each.new)


def replace_versions(
    store: Store, erasure: Erasure, on_unit: Callable[[], object] = lambda: None, *, drop_damaged: bool = False
) -> Erasure:
    """Make the versions without the person; those that are made already stay. The erasure with what had to be left out.

    A sample of another person that cannot be read is refused (``DamagedSampleError``), or with ``drop_damaged``
    rejected in the new version.
    """
    withdrawn = read_suppressed(store, erasure.key_id)
    found: list[Replaced] = []
    for each in erasure.replaced:
        if each.new is not None and not _is_there(store, each.new):
            try:
                _make(store, erasure, each, each.new, withdrawn, on_unit, UNREADABLE if drop_damaged else None)
            except DeemoError:
                if not _is_there(store, each.new):  # else another process made it, and removed the old one
                    raise
        found.append(replace(each, damaged=_damaged(store, each)))
    return replace(erasure, replaced=tuple(found))


def _make(
    store: Store,
    erasure: Erasure,
    each: Replaced,
    new: str,
    withdrawn: Suppressed,
    on_unit: Callable[[], object],
    unreadable: str | None,
) -> DatasetInfo:
    """Make the version ``new`` that takes the place of one."""
    gone, manifests = frozenset(erasure.samples), {each.old_digest: each.new_digest for each in erasure.manifests}
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
    manifest = manifests.get(info.header.manifest_digest)
    header = derived_header("erase", info, clips=clips, erased=info.clips - clips, manifest_digest=manifest)
    try:
        return derive(store, *named(new), header, parts, on_unit, unreadable=unreadable)
    except DamagedSampleError as error:
        raise DamagedSampleError(
            f"{each.label} cannot be written anew: {error.message}",
            hint="restore that shard and run it again (`deemo dataset verify --deep` names all that is damaged), or "
            "with --drop-damaged: samples that cannot be read are rejected then",
        ) from None


def _is_there(store: Store, label: str) -> bool:
    """Whether a version is complete."""
    return store.exists(info_key(dataset_prefix(*named(label))))


def _damaged(store: Store, each: Replaced) -> int:
    """Samples that were left out of what takes a version's place; as it was known where the version is gone."""
    if each.new is None:
        return 0
    with contextlib.suppress(DeemoError):
        old, new = (_unreadable(store, label) for label in (each.label, each.new))
        return len(new - old)
    return each.damaged


def _unreadable(store: Store, label: str) -> set[str]:
    ledger = read_parts(store, LedgerRow, read_ended(store, *named(label)).ledger, LEDGER_SCHEMA)
    keys, stages = ledger.column("key").to_pylist(), ledger.column("stage").to_pylist()
    return {key for key, stage in zip(keys, stages, strict=True) if stage == UNREADABLE}


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
