"""Receipts: the commit of a unit. The first receipt put wins; a loser's tar is garbage that nothing refers to."""

from collections.abc import Sequence

from deemo_dist.dataset.codec import check_version, from_plain, parse_json
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.layout import receipt_key, receipts_prefix, shard_key
from deemo_dist.digests import canonical_json, sha256_bytes
from deemo_dist.errors import AlreadyExistsError, CorruptDataError, DatasetError
from deemo_dist.records import Receipt, Unit
from deemo_dist.records.receipt import RECEIPT_VERSION


def encode_receipt(receipt: Receipt) -> bytes:
    """A receipt as canonical JSON."""
    return canonical_json(receipt)


def decode_receipt(data: bytes, where: str) -> Receipt:
    """A receipt from JSON. Raises ``CorruptDataError``, or ``DatasetError`` for a newer format."""
    value = parse_json(data, where)
    check_version("receipt", int(value.get("version", 0)), RECEIPT_VERSION, where)
    return from_plain(Receipt, value, where)


def commit_unit(store: Door, prefix: str, receipt: Receipt, tar: bytes | None) -> Receipt:
    """Commit a unit under the dataset's ``prefix``: the tar first, then the receipt if there is none.

    Returns the receipt that stands: this one, or that of whoever came first. The tar's name holds its digest, so
    two committers never overwrite each other's bytes with others. Raises ``DatasetError`` when tar and receipt differ.
    """
    _check_tar(receipt, tar)
    if receipt.tar is not None and tar is not None:
        store.put(shard_key(prefix, receipt.tar.name), tar)
    try:
        store.put_new(receipt_key(prefix, receipt.unit), encode_receipt(receipt))
    except AlreadyExistsError:
        return read_receipt(store, prefix, receipt.unit)
    return receipt


def _check_tar(receipt: Receipt, tar: bytes | None) -> None:
    """A receipt's tar is there, and is the one it speaks of; samples need one."""
    if (receipt.tar is None) != (tar is None) or (receipt.tar is None and receipt.index):
        raise DatasetError(f"unit {receipt.unit}: a receipt has a tar exactly when it has samples")
    if receipt.tar is not None and tar is not None and sha256_bytes(tar) != receipt.tar.sha256:
        raise CorruptDataError(f"unit {receipt.unit}: the tar is not the one of its receipt")


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
