"""A new version out of receipts of others: whole shards are copied by the server, others are written anew.

A shard's bytes hold neither its unit's number nor its dataset's name, so one of which every sample goes on is copied as
it is: digests and attestations hold. One that loses samples is made anew of the members that stay, each checked by its
digest. Receipts are put first-wins, so that a run that was interrupted goes on where it was.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from deemo_dist.dataset.compact import write_version
from deemo_dist.dataset.info import DatasetHeader, DatasetInfo, begin_version
from deemo_dist.dataset.layout import dataset_prefix, receipt_key, shard_key, shard_name
from deemo_dist.dataset.lifecycle.purge import purge
from deemo_dist.dataset.ordered import in_order
from deemo_dist.dataset.receipts import commit_put, commit_unit, committed_units, read_receipt
from deemo_dist.dataset.shards import ShardWriter
from deemo_dist.errors import CorruptDataError, DamagedSampleError, DatasetError, NotFoundError
from deemo_dist.records import IndexRow, LedgerRow, Member, Receipt, TarReceipt
from deemo_dist.storage import Store

AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class Part:
    """A unit of the new version: a ``receipt`` of the version at ``source``, and the ``ledger`` rows of the clips that
    go on. A clip whose row is not ``written`` any more is left out of the shard."""

    source: str
    receipt: Receipt
    ledger: tuple[LedgerRow, ...]

    @property
    def kept(self) -> tuple[IndexRow, ...]:
        """The samples that go on, in the shard's order."""
        written = {row.key for row in self.ledger if row.status == "written"}
        return tuple(row for row in self.receipt.index if row.key in written)


def derive(
    store: Store,
    name: str,
    version: str,
    header: DatasetHeader,
    parts: Sequence[Part],
    on_unit: Callable[[], object] = lambda: None,
    *,
    unreadable: str | None = None,
) -> DatasetInfo:
    """Make ``name``/``version`` of ``parts``, a unit each. ``on_unit`` is called for each that is done; ``unreadable``:
    the stage at which samples that cannot be read are rejected (None: they are refused).

    Raises ``DatasetError`` when a clip would stand in two rows, or the version was begun as something else, and
    ``CorruptDataError`` for a source that is not what its receipts say (``DamagedSampleError``: by its shards).
    """
    keys = [row.key for part in parts for row in part.ledger]
    if len(set(keys)) != len(keys):
        raise DatasetError(f"{name}/{version}: {len(keys) - len(set(keys))} clips would stand in more than one row")
    if not any(part.kept for part in parts):
        raise DatasetError(f"{name}/{version} would have no sample", hint="look at its sources: deemo dataset show")
    begin_version(store, name, version, header)
    prefix = dataset_prefix(name, version)

    def make(number: int) -> Receipt:
        return _unit(store, prefix, number, parts[number], unreadable)

    made = units_made(store, prefix, len(parts), make, on_unit)
    return write_version(store, name, version, header, _some(store, made, prefix))


def _some(store: Store, receipts: Iterable[Receipt], prefix: str) -> Iterator[Receipt]:
    """``receipts``, refused (``DatasetError``) at their end where none holds a sample; nothing is left of them then, so
    that the version can be made of sources that were restored."""
    samples = 0
    for receipt in receipts:
        samples += len(receipt.index)
        yield receipt
    if not samples:
        purge(store, prefix)
        raise DatasetError(f"no sample for {prefix} can be read", hint="restore the shards of its sources")


def units_made(
    store: Store, prefix: str, units: int, make: Callable[[int], Receipt], on_unit: Callable[[], object]
) -> Iterator[Receipt]:
    """The receipts of units 0 to ``units`` - 1 of a version: ``make`` commits those that have none yet."""
    done = committed_units(store, prefix)

    def one(number: int) -> Receipt:
        return read_receipt(store, prefix, number) if number in done else make(number)

    for receipt in in_order(one, range(units), AT_ONCE):
        yield receipt
        on_unit()


def _unit(store: Store, prefix: str, number: int, part: Part, unreadable: str | None) -> Receipt:
    """Commit one unit; the receipt that stands."""
    tar = part.receipt.tar
    if tar is not None and len(part.kept) == len(part.receipt.index) and _is_whole(store, part, tar, unreadable):
        source, name = shard_key(part.source, tar.name), shard_name(number, tar.digest)
        members = {row.key: row.members for row in part.kept}
        receipt = replace(_receipt(number, part, name, members), tar=replace(tar, name=name))
        return commit_put(store, prefix, receipt, lambda key: store.copy(source, key))
    writer = ShardWriter(number)
    damaged: set[str] = set()
    for row in part.kept:
        try:
            writer.add(row.key, read_sample(store, part.source, row))
        except DamagedSampleError:
            if unreadable is None:
                raise
            damaged.add(row.key)
    part = replace(part, ledger=tuple(_damaged(row, unreadable) if row.key in damaged else row for row in part.ledger))
    shard = writer.finish()
    if shard is None:
        return commit_unit(store, prefix, _receipt(number, part, "", {}), None)
    receipt = replace(_receipt(number, part, shard.tar.name, shard.members), tar=shard.tar)
    return commit_unit(store, prefix, receipt, shard)


def _is_whole(store: Store, part: Part, tar: TarReceipt, unreadable: str | None) -> bool:
    """Whether a shard is there in the size of its receipt; where not, ``DamagedSampleError`` unless what can be read of
    it is taken."""
    key = shard_key(part.source, tar.name)
    try:
        found = store.size(key)
    except NotFoundError:
        _refuse_absent(store, part.source, part.receipt.unit)
        found = None
    if found != tar.size and unreadable is None:
        how = "is missing" if found is None else f"has {found} bytes, {tar.size} by its receipt"
        raise DamagedSampleError(f"{key}: {how}", hint="restore it: deemo dataset verify")
    return found == tar.size


def _refuse_absent(store: Store, prefix: str, unit: int) -> None:
    """Raise ``NotFoundError`` where more is gone than a shard: the version, or the place that the store is in."""
    store.size(receipt_key(prefix, unit))


def _damaged(row: LedgerRow, stage: str | None) -> LedgerRow:
    return LedgerRow(key=row.key, unit=row.unit, status="rejected", stage=stage, reason="damaged")


def _receipt(number: int, part: Part, shard: str, members: Mapping[str, tuple[Member, ...]]) -> Receipt:
    """The unit's rows under their new number and places, without a tar."""
    index = tuple(replace(row, unit=number, shard=shard, members=members[row.key]) for row in part.kept)
    offsets = {row.key: row.members[0].offset for row in index}
    ledger = tuple(
        replace(row, unit=number, shard=shard, offset=offsets[row.key])
        if row.status == "written"
        else replace(row, unit=number)
        for row in part.ledger
    )
    said = tuple(row for row in part.receipt.annotations if row.key in offsets)
    return replace(part.receipt, unit=number, tar=None, index=index, ledger=ledger, annotations=said, statistics={})


def read_sample(store: Store, prefix: str, row: IndexRow) -> dict[str, bytes]:
    """A sample's files by extension, each checked by its digest. Raises ``DamagedSampleError``."""
    first, last = row.members[0], row.members[-1]
    start, shard = first.offset, shard_key(prefix, row.shard)
    try:
        data = store.get_range(shard, start, last.offset + last.size - start)
    except NotFoundError:
        _refuse_absent(store, prefix, row.unit)
        raise DamagedSampleError(f"{shard}: is missing, and {row.key} with it", hint="restore it") from None
    except CorruptDataError as error:
        raise DamagedSampleError(f"{row.key}: {error.message}", hint=error.hint) from None
    files = {each.extension: data[each.offset - start : each.offset - start + each.size] for each in row.members}
    for member in row.members:
        if not member.holds(files[member.extension]):
            raise DamagedSampleError(
                f"{shard}: {row.key}.{member.extension} does not have the digest of the index",
                hint="the shard is damaged: `deemo dataset verify --deep` names all such members",
            )
    return files
