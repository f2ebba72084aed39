"""From receipts to a dataset: index, ledger and annotations as Parquet, and ``dataset.json`` last.

All of it can be rebuilt from the receipts; running it twice changes nothing. Receipts are read by threads and pass one
by one: besides the annotations, which are sorted, a part of each table and the clips' keys are in memory.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from deemo_dist.dataset.costs import costs_of, rounded
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.info import DatasetHeader, DatasetInfo, PartFile, begin_version
from deemo_dist.dataset.layout import annotations_key, dataset_prefix, index_key, info_key, ledger_key
from deemo_dist.dataset.lifecycle.purge import purge_object
from deemo_dist.dataset.lifecycle.suppression import read_suppressed
from deemo_dist.dataset.lifecycle.tombstones import refuse_tombstoned
from deemo_dist.dataset.ordered import in_order
from deemo_dist.dataset.receipts import committed_units, read_receipt
from deemo_dist.dataset.tables import PartWriter, SortedRows
from deemo_dist.digests import RowsDigest, canonical_json, plain
from deemo_dist.errors import DatasetError
from deemo_dist.records import Receipt, Unit
from deemo_dist.records.sample import ANNOTATION_SCHEMA, INDEX_SCHEMA, LEDGER_SCHEMA
from deemo_dist.storage import Store

READERS = 16


def compact(store: Store, name: str, version: str, units: Sequence[Unit], header: DatasetHeader) -> DatasetInfo:
    """Compact the receipts of ``units`` into the dataset ``name``/``version`` and return its ``dataset.json``.

    Raises ``DatasetError`` when a receipt is missing, of another policy, or does not account for its unit's clips, and
    as :func:`write_version` does.
    """
    begin_version(store, name, version, header)
    receipts = _receipts(store, dataset_prefix(name, version), units)
    return write_version(store, name, version, header, _checked(receipts, units, header))


def write_version(
    store: Store, name: str, version: str, header: DatasetHeader, receipts: Iterable[Receipt]
) -> DatasetInfo:
    """Write index, ledger, annotations and at last ``dataset.json`` of receipts in the order of units.

    Raises ``DatasetError`` where the version was tombstoned, or somebody withdrew whose clips are in it.
    """
    prefix = dataset_prefix(name, version)
    refuse_tombstoned(store, prefix)
    withdrawn = read_suppressed(store, header.key_id)
    index = PartWriter(store, INDEX_SCHEMA, lambda part: index_key(prefix, part))
    ledger = PartWriter(store, LEDGER_SCHEMA, lambda part: ledger_key(prefix, part))
    annotations, digest, totals, costs = SortedRows(ANNOTATION_SCHEMA), DatasetDigest(), Counter[str](), Counter[str]()
    toolchains: set[str] = set()
    for receipt in receipts:
        _refuse_withdrawn(len(withdrawn.of_receipt(receipt)), (*index.parts, *ledger.parts), store, prefix, header)
        rows = PlainRows.of(receipt)
        digest.add(receipt, rows)
        index.add(rows.index)
        ledger.add(rows.ledger)
        annotations.add(rows.annotations)
        totals.update(_counts(receipt))
        costs.update(costs_of(receipt))
        toolchains.add(receipt.toolchain_digest)
    said, said_digest = annotations.finish()
    overlay = PartWriter(store, ANNOTATION_SCHEMA, lambda part: annotations_key(said_digest, part))
    overlay.add_table(said)
    info = DatasetInfo(
        name=name,
        version=version,
        header=header,
        clips=totals["clips"],
        samples=totals["samples"],
        rejected=totals["rejected"],
        shards=totals["shards"],
        bytes=totals["bytes"],
        dataset_digest=digest.hex(),
        annotations_digest=said_digest,
        toolchains=tuple(sorted(toolchains)),
        index=index.finish(),
        ledger=ledger.finish(),
        annotations=overlay.finish(),
        statistics=rounded(costs),
    )
    store.put(info_key(prefix), canonical_json(info))
    _leave_tombstoned(store, info)
    return info


def _counts(receipt: Receipt) -> dict[str, int]:
    return {
        "clips": len(receipt.ledger),
        "samples": len(receipt.index),
        "rejected": sum(row.status == "rejected" for row in receipt.ledger),
        "shards": int(receipt.tar is not None),
        "bytes": receipt.tar.size if receipt.tar else 0,
    }


def _refuse_withdrawn(
    clips: int, written: Sequence[PartFile], store: Store, prefix: str, header: DatasetHeader
) -> None:
    """People withdrew while the version was made: nothing of it may stand, ``written`` parts neither."""
    if not clips:
        return
    for part in written:
        purge_object(store, part.key)
    raise DatasetError(
        f"{prefix}: {clips} clips of a unit are of people who withdrew under the root key {header.key_id} meanwhile",
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


def dataset_digest(receipts: Iterable[Receipt]) -> str:
    """The digest of a dataset: canonical rows of its receipts in the order of units.

    Neither Parquet bytes nor statistics enter it, nor the toolchain (the tars' digests already say what bytes came).
    """
    digest = DatasetDigest()
    for receipt in sorted(receipts, key=lambda receipt: receipt.unit):
        digest.add(receipt, PlainRows.of(receipt))
    return digest.hex()


@dataclass(frozen=True)
class PlainRows:
    """A receipt's rows as plain data, made once for digest and tables."""

    index: list[dict[str, Any]]
    ledger: list[dict[str, Any]]
    annotations: list[dict[str, Any]]

    @classmethod
    def of(cls, receipt: Receipt) -> "PlainRows":
        """The rows of a receipt."""
        return cls(plain(receipt.index), plain(receipt.ledger), plain(receipt.annotations))


class DatasetDigest:
    """As :func:`dataset_digest`, of receipts that are added one by one in the order of units."""

    def __init__(self) -> None:
        self._rows = RowsDigest()

    def add(self, receipt: Receipt, rows: PlainRows) -> None:
        """One more receipt, and its rows."""
        self._rows.add({"unit": receipt.unit, "tar": receipt.tar, "policy_digest": receipt.policy_digest})
        for row in (*rows.index, *rows.ledger):
            self._rows.add_plain(row)

    def hex(self) -> str:
        """The digest of all that was added."""
        return self._rows.hex()


def _receipts(store: Door, prefix: str, units: Sequence[Unit]) -> Iterator[Receipt]:
    """The receipts of all units, in their order."""
    done = committed_units(store, prefix)
    missing = [unit.index for unit in units if unit.index not in done]
    if missing:
        raise DatasetError(
            f"{prefix}: {len(missing)} of {len(units)} units have no receipt (first: {missing[0]})",
            hint="run preprocessing again: it does only what is missing",
        )
    return in_order(lambda unit: read_receipt(store, prefix, unit.index), units, READERS)


def _checked(receipts: Iterable[Receipt], units: Sequence[Unit], header: DatasetHeader) -> Iterator[Receipt]:
    """Receipts that account for each clip of their unit once, under the header's policy. Raises ``DatasetError``."""
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
        yield receipt
