"""From receipts to a dataset: index, ledger and annotations as Parquet, and ``dataset.json`` last.

All of it can be rebuilt from the receipts; running it twice changes nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa

from deemo_dist.dataset.codec import to_parquet
from deemo_dist.dataset.costs import total_costs
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.info import DatasetHeader, DatasetInfo, PartFile, begin_version
from deemo_dist.dataset.layout import annotations_key, dataset_prefix, index_key, info_key, ledger_key
from deemo_dist.dataset.lifecycle.purge import purge_object
from deemo_dist.dataset.lifecycle.suppression import read_suppressed
from deemo_dist.dataset.lifecycle.tombstones import refuse_tombstoned
from deemo_dist.dataset.receipts import committed_units, read_receipt
from deemo_dist.digests import RowsDigest, canonical_json, digest_of_rows, sha256_bytes
from deemo_dist.errors import DatasetError
from deemo_dist.records import Annotation, Receipt, Unit
from deemo_dist.records.sample import ANNOTATION_SCHEMA, INDEX_SCHEMA, LEDGER_SCHEMA
from deemo_dist.storage import Store

PART_ROWS = 50_000


def compact(store: Store, name: str, version: str, units: Sequence[Unit], header: DatasetHeader) -> DatasetInfo:
    """Compact the receipts of ``units`` into the dataset ``name``/``version`` and return its ``dataset.json``.

    Raises ``DatasetError`` when a receipt is missing, of another policy, or does not account for its unit's clips.
    """
    begin_version(store, name, version, header)
    prefix = dataset_prefix(name, version)
    receipts = _receipts(store, prefix, units)
    check_receipts(receipts, units, header)
    return write_version(store, name, version, header, receipts)


def write_version(
    store: Store, name: str, version: str, header: DatasetHeader, receipts: Sequence[Receipt]
) -> DatasetInfo:
    """Write index, ledger, annotations and at last ``dataset.json`` of receipts that were checked.

    Raises ``DatasetError`` where the version was tombstoned, or somebody withdrew whose clips are in it.
    """
    prefix = dataset_prefix(name, version)
    _refuse_withdrawn(store, prefix, header, receipts)
    annotations = sorted((row for receipt in receipts for row in receipt.annotations), key=lambda row: row.key)
    info = DatasetInfo(
        name=name,
        version=version,
        header=header,
        clips=sum(len(receipt.ledger) for receipt in receipts),
        samples=sum(len(receipt.index) for receipt in receipts),
        rejected=sum(row.status == "rejected" for receipt in receipts for row in receipt.ledger),
        shards=sum(receipt.tar is not None for receipt in receipts),
        bytes=sum(receipt.tar.size for receipt in receipts if receipt.tar),
        dataset_digest=dataset_digest(receipts),
        annotations_digest=digest_of_rows(annotations),
        toolchains=tuple(sorted({receipt.toolchain_digest for receipt in receipts})),
        index=_write(store, _flat(receipts, "index"), INDEX_SCHEMA, lambda part: index_key(prefix, part)),
        ledger=_write(store, _flat(receipts, "ledger"), LEDGER_SCHEMA, lambda part: ledger_key(prefix, part)),
        annotations=write_annotations(store, annotations),
        statistics=total_costs(receipts),
    )
    store.put(info_key(prefix), canonical_json(info))
    _leave_tombstoned(store, info)
    return info


def _refuse_withdrawn(store: Store, prefix: str, header: DatasetHeader, receipts: Iterable[Receipt]) -> None:
    """An erasure that came while the version was being made has ended it, or its people are known by now."""
    refuse_tombstoned(store, prefix)
    withdrawn = read_suppressed(store, header.key_id)
    clips = sum(len(withdrawn.of_receipt(receipt)) for receipt in receipts)
    if clips:
        raise DatasetError(
            f"{prefix}: {clips} clips are of people who withdrew under the root key {header.key_id} meanwhile",
            hint="run `deemo dataset erase` for them again, then make another version: they are left out of it",
        )


def _leave_tombstoned(store: Store, info: DatasetInfo) -> None:
    """Whoever ended the version may have looked through it before its tables came in: take them back."""
    try:
        refuse_tombstoned(store, info.prefix)
    except DatasetError:
        for part in (*info.index, *info.ledger, *info.annotations):
            purge_object(store, part.key)
        purge_object(store, info_key(info.prefix))
        raise


def write_annotations(store: Door, annotations: Sequence[Annotation]) -> tuple[PartFile, ...]:
    """Write an overlay under the digest of its rows, sorted by key; returns its parts."""
    rows = sorted(annotations, key=lambda row: row.key)
    digest = digest_of_rows(rows)
    return _write(store, rows, ANNOTATION_SCHEMA, lambda part: annotations_key(digest, part))


def dataset_digest(receipts: Iterable[Receipt]) -> str:
    """The digest of a dataset: canonical rows of its receipts in the order of units.

    Neither Parquet bytes nor statistics enter it, nor the toolchain (the tars' digests already say what bytes came).
    """
    digest = DatasetDigest()
    for receipt in sorted(receipts, key=lambda receipt: receipt.unit):
        digest.add(receipt)
    return digest.hex()


class DatasetDigest:
    """As :func:`dataset_digest`, of receipts that are added one by one in the order of units."""

    def __init__(self) -> None:
        self._rows = RowsDigest()

    def add(self, receipt: Receipt) -> None:
        """One more receipt."""
        self._rows.add({"unit": receipt.unit, "tar": receipt.tar, "policy_digest": receipt.policy_digest})
        for row in (*receipt.index, *receipt.ledger):
            self._rows.add(row)

    def hex(self) -> str:
        """The digest of all that was added."""
        return self._rows.hex()


def _receipts(store: Door, prefix: str, units: Sequence[Unit]) -> list[Receipt]:
    """The receipts of all units, in their order."""
    done = committed_units(store, prefix)
    missing = [unit.index for unit in units if unit.index not in done]
    if missing:
        raise DatasetError(
            f"{prefix}: {len(missing)} of {len(units)} units have no receipt (first: {missing[0]})",
            hint="run preprocessing again: it does only what is missing",
        )
    return [read_receipt(store, prefix, unit.index) for unit in units]


def check_receipts(receipts: Sequence[Receipt], units: Sequence[Unit], header: DatasetHeader) -> None:
    """Every receipt accounts for each clip of its unit once, under the header's policy. Raises ``DatasetError``."""
    seen: set[str] = set()
    for unit, receipt in zip(units, receipts, strict=True):
        where = f"receipt of unit {unit.index}"
        if receipt.policy_digest != header.policy_digest:
            raise DatasetError(f"{where}: made under another policy", hint="set another data.version")
        keys = [row.key for row in receipt.ledger]
        if len(keys) != len(unit.clips) or len(set(keys)) != len(keys) or not seen.isdisjoint(keys):
            raise DatasetError(f"{where}: its ledger does not hold each of its {len(unit.clips)} clips once")
        if {row.key for row in receipt.index} != {row.key for row in receipt.ledger if row.status == "written"}:
            raise DatasetError(f"{where}: its index and its ledger disagree")
        seen.update(keys)


def _flat(receipts: Sequence[Receipt], rows: str) -> list[Any]:
    return [row for receipt in receipts for row in getattr(receipt, rows)]


def _write(store: Door, rows: Sequence[Any], schema: pa.Schema, key: Callable[[int], str]) -> tuple[PartFile, ...]:
    """Write rows in parts of ``PART_ROWS``; an empty table has one empty part."""
    parts: list[PartFile] = []
    for number, start in enumerate(range(0, max(len(rows), 1), PART_ROWS)):
        chunk = rows[start : start + PART_ROWS]
        data = to_parquet(chunk, schema)
        store.put(key(number), data)
        parts.append(PartFile(key=key(number), rows=len(chunk), sha256=sha256_bytes(data)))
    return tuple(parts)
