"""Proof that a dataset is whole: every clip in exactly one row, every row true. Problems come back as sentences.

The receipts are what was committed; index, ledger and annotations are what readers use. Each row of the one is held
against its row of the other, receipt by receipt, so that only the tables and a few receipts are in memory.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from deemo_dist.dataset.compact import DatasetDigest, PlainRows
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.info import DatasetInfo, read_info
from deemo_dist.dataset.opened import Allowed, check_attestations, read_parts, refuse_policy
from deemo_dist.dataset.ordered import in_order
from deemo_dist.dataset.receipts import committed_units, read_receipt
from deemo_dist.dataset.rows import Rows
from deemo_dist.dataset.verify_shards import shard_problems
from deemo_dist.dataset.verify_tables import table_problems
from deemo_dist.digests import digest_of_rows
from deemo_dist.errors import CorruptDataError, DeemoError
from deemo_dist.records import Annotation, IndexRow, LedgerRow, Receipt
from deemo_dist.records.sample import ANNOTATION_SCHEMA, INDEX_SCHEMA, LEDGER_SCHEMA

AT_ONCE, AT_ONCE_DEEP = 16, 2
T = TypeVar("T", IndexRow, LedgerRow, Annotation)


def verify(
    store: Door,
    name: str,
    version: str,
    *,
    deep: bool = False,
    allow_weak: bool = False,
    allowed: Allowed | None = None,
) -> list[str]:
    """Problems of the dataset ``name``/``version``, empty when there are none.

    Checks counts, attestations, sizes of shards, and every row of index, ledger and annotations against the receipts
    and these against their digest, and reads the tables of lengths and plans that were made of the dataset; ``deep``
    also reads every shard and checks its digest, each member, and what the sample says of itself. Raises
    ``DatasetError`` when the dataset is not complete, of another format, or of a policy
    that is weak (without ``allow_weak``) or not the ``allowed`` one.
    """
    info = read_info(store, name, version)
    refuse_policy(info, allow_weak=allow_weak, allowed=allowed)
    tables, problems = _tables(store, info, allow_weak)
    totals = _Totals()
    extra = sorted(committed_units(store, info.prefix) - set(range(info.header.units)))
    if extra:
        problems.append(f"there are receipts of units that the manifest does not make: {extra[:5]}")

    def look(unit: int) -> tuple[Receipt | None, list[str]]:
        try:
            receipt = read_receipt(store, info.prefix, unit)
        except DeemoError as error:
            return None, [f"unit {unit} has no readable receipt: {error}"]
        return receipt, shard_problems(store, info.prefix, receipt, deep=deep)

    for receipt, found in in_order(look, range(info.header.units), AT_ONCE_DEEP if deep else AT_ONCE):
        problems += found
        if receipt is None:
            totals.missing += 1
            continue
        rows = PlainRows.of(receipt)
        totals.add(receipt, rows)
        if tables is not None:
            problems += tables.problems(receipt, rows, ordered=not totals.missing)
    if not totals.missing:
        problems += totals.problems(info)
        problems += tables.leftovers() if tables is not None else []
    return [*problems, *table_problems(store, info)]


def ledger_totals(ledger: Sequence[LedgerRow]) -> dict[str, int]:
    """How many clips were ``written``, and how many rejected by ``stage: reason``."""
    return dict(
        sorted(Counter("written" if r.status == "written" else f"{r.stage}: {r.reason}" for r in ledger).items())
    )


class _Against(Generic[T]):
    """A stored table against the rows of the receipts, which are told in the order of units."""

    def __init__(self, what: str, rows: Rows[T], schema: pa.Schema, *, by_key: bool = False) -> None:
        self.what, self.schema, self.by_key = what, schema, by_key
        self.rows: Rows[T] = rows
        self.told = 0

    @cached_property
    def places(self) -> dict[str, int]:
        """Row number by key."""
        return {key: number for number, key in enumerate(self.rows.column("key").to_pylist())}

    def problems(self, unit: int, said: Sequence[T], rows: list[dict[str, Any]], *, ordered: bool) -> Iterator[str]:
        """What the table has otherwise than a receipt, ``rows`` being what is ``said`` as plain data; ``ordered``:
        whether all receipts before were told."""
        start, self.told = self.told, self.told + len(said)
        wanted = pa.Table.from_pylist(rows, schema=self.schema)
        if not self.by_key and self.rows.table.slice(start, len(said)).equals(wanted):
            return
        numbers = [self.places.get(row.key) for row in said]
        if self.by_key and None not in numbers and self.rows.table.take(pa.array(numbers, pa.int64())).equals(wanted):
            return
        found = [fault for row, number in zip(said, numbers, strict=True) if (fault := self._fault(row, number))]
        yield from (f"{self.what}: {fault} the receipt of unit {unit}" for fault in found)
        if not found and ordered and not self.by_key and numbers != list(range(start, self.told)):
            yield f"{self.what}: the rows of unit {unit} are not at their place"

    def leftovers(self) -> list[str]:
        """Rows that no receipt has, once all receipts were told."""
        if len(self.rows) == self.told:
            return []
        return [f"{self.what}: {len(self.rows)} rows, where the receipts have {self.told}"]

    def _fault(self, said: T, number: int | None) -> str | None:
        if number is None:
            return f"there is no row {said.key}, which is in"
        try:
            row = self.rows[number]
        except CorruptDataError as error:
            return f"{error} It should be as in"
        other = [each.name for each in fields(said) if getattr(said, each.name) != getattr(row, each.name)]
        return f"{said.key} has another {', '.join(other)} than in" if other else None


@dataclass(frozen=True)
class _Tables:
    """The three tables that receipts are held against."""

    index: _Against[IndexRow]
    ledger: _Against[LedgerRow]
    annotations: _Against[Annotation]

    def problems(self, receipt: Receipt, rows: PlainRows, *, ordered: bool) -> Iterator[str]:
        """What is otherwise than in a receipt."""
        unit = receipt.unit
        yield from self.index.problems(unit, receipt.index, rows.index, ordered=ordered)
        yield from self.ledger.problems(unit, receipt.ledger, rows.ledger, ordered=ordered)
        yield from self.annotations.problems(unit, receipt.annotations, rows.annotations, ordered=ordered)

    def leftovers(self) -> list[str]:
        """Rows that no receipt has."""
        return [*self.index.leftovers(), *self.ledger.leftovers(), *self.annotations.leftovers()]


@dataclass
class _Totals:
    """What all receipts say together."""

    digest: DatasetDigest = field(default_factory=DatasetDigest)
    policies: set[str] = field(default_factory=set)
    shards: int = 0
    bytes: int = 0
    missing: int = 0

    def add(self, receipt: Receipt, rows: PlainRows) -> None:
        """One more receipt, and its rows."""
        self.digest.add(receipt, rows)
        self.policies.add(receipt.policy_digest)
        self.shards += receipt.tar is not None
        self.bytes += receipt.tar.size if receipt.tar else 0

    def problems(self, info: DatasetInfo) -> Iterator[str]:
        """The receipts against ``dataset.json``."""
        if self.digest.hex() != info.dataset_digest:
            yield "the receipts do not have the digest that dataset.json names"
        if self.policies != {info.header.policy_digest}:
            yield "receipts were made under another policy than the dataset's"
        if (self.shards, self.bytes) != (info.shards, info.bytes):
            yield f"dataset.json counts {info.shards} shards of {info.bytes} bytes, the receipts name {self.shards}"


def _tables(store: Door, info: DatasetInfo, allow_weak: bool) -> tuple[_Tables | None, list[str]]:
    """The tables, None where they cannot be read, and what is wrong with them by themselves."""
    try:
        index = read_parts(store, IndexRow, info.index, INDEX_SCHEMA)
        check_attestations(index, info, allow_weak=allow_weak)
        ledger = read_parts(store, LedgerRow, info.ledger, LEDGER_SCHEMA)
        annotations = read_parts(store, Annotation, info.annotations, ANNOTATION_SCHEMA)
        problems = [*_ledger_problems(info, index, ledger), *_annotation_problems(info, index, annotations)]
    except DeemoError as error:
        return None, [str(error)]
    tables = _Tables(
        index=_Against("index", index, INDEX_SCHEMA),
        ledger=_Against("ledger", ledger, LEDGER_SCHEMA),
        annotations=_Against("annotations", annotations, ANNOTATION_SCHEMA, by_key=True),
    )
    return tables, problems


def _annotation_problems(info: DatasetInfo, index: Rows[IndexRow], annotations: Rows[Annotation]) -> Iterator[str]:
    """The overlay against its digest and the samples."""
    if digest_of_rows(annotations) != info.annotations_digest:
        yield "the annotations do not have the digest that dataset.json names"
    strays = len(annotations) - pc.sum(pc.is_in(annotations.column("key"), index.column("key")), min_count=0).as_py()
    if strays:
        yield f"{strays} annotations belong to no sample"


def _ledger_problems(info: DatasetInfo, index: Rows[IndexRow], ledger: Rows[LedgerRow]) -> Iterator[str]:
    """Every clip in one row of the ledger, and every written row at its place in the index."""
    counts = ledger.column("key").value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    if len(repeated):
        yield f"{len(repeated)} clips stand more than once in the ledger (first: {repeated[0].as_py()})"
    if not len(ledger) == info.clips == info.header.clips:
        yield f"the ledger has {len(ledger)} rows for {info.header.clips} clips"
    if len(index) != info.samples or info.samples + info.rejected != info.clips:
        yield f"{len(index)} samples and {info.rejected} rejections do not make {info.clips} clips"
    written = pc.fill_null(pc.equal(ledger.column("status"), "written"), False)
    if not _places(index).equals(ledger.table.filter(written).select(["key", "shard", "offset"]).sort_by("key")):
        yield "index and ledger do not name the same samples at the same places"
    said = pc.and_(pc.true_unless_null(ledger.column("stage")), pc.true_unless_null(ledger.column("reason")))
    bad = ledger.column("key").filter(pc.and_not(pc.invert(pc.fill_null(said, False)), written))
    if len(bad):
        yield f"{len(bad)} rejected clips have no stage and reason (first: {bad[0].as_py()})"


def _places(index: Rows[IndexRow]) -> pa.Table:
    """Key, shard and the offset of the first member of each sample, by key."""
    members: Any = index.column("members")
    first = pc.if_else(pc.greater(pc.list_value_length(members), 0), members.offsets[:-1], None)
    columns = {
        "key": index.column("key"),
        "shard": index.column("shard"),
        "offset": members.values.field("offset").take(first),
    }
    return pa.table(columns).sort_by("key")
