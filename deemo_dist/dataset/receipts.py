"""Receipts: the commit of a unit. The first receipt put wins; a loser's tar is garbage that nothing refers to."""

from collections.abc import Callable, Sequence

from deemo_dist.dataset.codec import check_version, from_plain, parse_json
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.layout import receipt_key, receipts_prefix, shard_key
from deemo_dist.dataset.lifecycle.purge import purge_object
from deemo_dist.dataset.lifecycle.tombstones import refuse_tombstoned
from deemo_dist.dataset.shards import Shard
from deemo_dist.digests import canonical_json
from deemo_dist.errors import AlreadyExistsError, CorruptDataError, DatasetError, NotFoundError
from deemo_dist.records import Receipt, Unit
from deemo_dist.records.receipt import RECEIPT_VERSION
from deemo_dist.storage import Store


def encode_receipt(receipt: Receipt) -> bytes:
    """A receipt as canonical JSON."""
    return canonical_json(receipt)


def decode_receipt(data: bytes, where: str) -> Receipt:
    """A receipt from JSON. Raises ``CorruptDataError``, or ``DatasetError`` for a newer format."""
    value = parse_json(data, where)
    check_version("receipt", int(value.get("version", 0)), RECEIPT_VERSION, where)
    return from_plain(Receipt, value, where)


def commit_unit(store: Store, prefix: str, receipt: Receipt, shard: Shard | None) -> Receipt:
    """Commit a unit under the dataset's ``prefix``: the tar first, then the receipt if there is none.

    Returns the receipt that stands: this one, or that of whoever came first. The tar's name holds its digest, taken as
    it was written, so two committers never overwrite each other's bytes with others. Raises ``DatasetError`` when shard
    and receipt differ, and as :func:`commit_put` does.
    """
    if receipt.tar != (shard.tar if shard else None) or (shard is None and receipt.index):
        raise DatasetError(f"unit {receipt.unit}: the shard is not the one of its receipt")
    chunks = shard.chunks if shard else ()
    return commit_put(store, prefix, receipt, lambda key: store.put_chunks(key, chunks))


def commit_put(store: Store, prefix: str, receipt: Receipt, put: Callable[[str], object]) -> Receipt:
    """Commit a unit whose tar ``put`` brings to the key that it is given; the receipt that stands.

    A version that was tombstoned takes nothing any more: ``DatasetError``, and what came in while it was is removed
    again. A tar that was collected as garbage before its receipt stood is put once more.
    """
    refuse_tombstoned(store, prefix)
    tar = shard_key(prefix, receipt.tar.name) if receipt.tar else None
    if tar is not None:
        put(tar)
    try:
        store.put_new(receipt_key(prefix, receipt.unit), encode_receipt(receipt))
        standing: Receipt | None = receipt
    except AlreadyExistsError:
        standing = _standing(store, prefix, receipt.unit)
    if tar is not None and standing is not None and standing.tar == receipt.tar and not store.exists(tar):
        put(tar)
    _leave_tombstoned(store, prefix, receipt.unit, tar, won=standing is receipt)
    return standing if standing is not None else read_receipt(store, prefix, receipt.unit)


def _standing(store: Door, prefix: str, unit: int) -> Receipt | None:
    """The receipt of ``unit``; None where there is none."""
    try:
        return read_receipt(store, prefix, unit)
    except NotFoundError:
        return None


def _leave_tombstoned(store: Store, prefix: str, unit: int, tar: str | None, *, won: bool) -> None:
    """Whoever ended the version may have looked through it before this unit came in: take back what this call brought,
    the receipt where it is this call's, the tar unless the receipt of another names it too."""
    try:
        refuse_tombstoned(store, prefix)
    except DatasetError:
        if won:
            purge_object(store, receipt_key(prefix, unit))
        if tar is not None:
            standing = _standing(store, prefix, unit)
            if standing is None or standing.tar is None or shard_key(prefix, standing.tar.name) != tar:
                purge_object(store, tar)
        raise


def read_receipt(store: Door, prefix: str, unit: int) -> Receipt:
    """The receipt of ``unit``. Raises ``NotFoundError`` where there is none, ``CorruptDataError`` for a bad one."""
    key = receipt_key(prefix, unit)
    receipt = decode_receipt(store.get(key), key)
    if receipt.unit != unit:
        raise CorruptDataError(f"{key}: is the receipt of unit {receipt.unit}")
    return receipt


def committed_units(store: Door, prefix: str) -> frozenset[int]:
    """Numbers of the units that have a receipt: one listing, no reads."""
    start = receipts_prefix(prefix)
    stems = [key[len(start) :].removesuffix(".json") for key in store.list(start)]
    return frozenset(int(stem) for stem in stems if stem.isdigit())


def pending_units(store: Door, prefix: str, units: Sequence[Unit]) -> tuple[Unit, ...]:
    """The units without a receipt: what a rerun still has to do."""
    done = committed_units(store, prefix)
    return tuple(unit for unit in units if unit.index not in done)
