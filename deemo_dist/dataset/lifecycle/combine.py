"""Merge and filter: new versions out of what was committed. Whoever was withdrawn does not come back through them."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from deemo_dist.console import logger
from deemo_dist.dataset.compact import dataset_digest
from deemo_dist.dataset.info import DatasetHeader, DatasetInfo, Derivation, Source, read_info
from deemo_dist.dataset.lifecycle.condition import Condition
from deemo_dist.dataset.lifecycle.derive import Part, derive
from deemo_dist.dataset.lifecycle.suppression import Suppressed, read_suppressed
from deemo_dist.dataset.lifecycle.versions import key_names
from deemo_dist.dataset.receipts import read_receipt
from deemo_dist.digests import digest_of
from deemo_dist.errors import CorruptDataError, DatasetError
from deemo_dist.records import LedgerRow, Receipt
from deemo_dist.storage import Store

FILTER = "filter"
"""The stage at which a clip is rejected that a condition left out."""

Label = tuple[str, str]
Progress = Callable[[], object]


def merge(
    store: Store,
    sources: Sequence[Label],
    into: Label,
    *,
    first_wins: bool = False,
    on_unit: Progress = lambda: None,
) -> DatasetInfo:
    """Merge versions of one policy and key into a new one, each clip in one row.

    A clip that a filter left out of one is taken from another that holds it. One that several hold otherwise (but for
    the same rejection) is refused, or with ``first_wins`` taken from the first that names it. Raises ``DatasetError``
    for that, for other policies, and where a subject would be in two splits.
    """
    infos = [read_info(store, *source) for source in sources]
    _refuse_unlike(infos)
    found: list[tuple[int, Part]] = []
    erased = 0
    for number, info in enumerate(infos):
        withdrawn = read_suppressed(store, info.header.key_id)
        for receipt in receipts_of(store, info):
            rows, gone = _allowed(receipt, withdrawn)
            erased += gone
            found.append((number, Part(source=info.prefix, receipt=receipt, ledger=rows)))
    owners, repeated = _owners(found)
    parts = [
        replace(part, ledger=tuple(row for row in part.ledger if owners[row.key] == number)) for number, part in found
    ]
    if repeated and not first_wins:
        raise DatasetError(
            f"{repeated} clips stand in more than one of the versions",
            hint="with --first each is taken from the first that names it",
        )
    _refuse_split_subjects(parts)
    header = _header("merge", infos, parts, erased)
    return derive(store, *into, header, parts, on_unit)


def select(
    store: Store,
    source: Label,
    into: Label,
    condition: Condition,
    text: str,
    *,
    on_unit: Progress = lambda: None,
) -> DatasetInfo:
    """The samples of a version that fulfil ``condition`` (``text``: as written). The others' clips stay in the ledger,
    rejected at the stage ``filter``."""
    info = read_info(store, *source)
    parts: list[Part] = []
    erased = 0
    withdrawn = read_suppressed(store, info.header.key_id)
    for receipt in receipts_of(store, info):
        rows, gone = _allowed(receipt, withdrawn)
        erased += gone
        out = {row.key for row in receipt.index if not condition(row)}
        ledger = tuple(_filtered(row) if row.key in out else row for row in rows)
        parts.append(Part(source=info.prefix, receipt=receipt, ledger=ledger))
    if not any(part.kept for part in parts):
        raise DatasetError(f"no sample of {info.name}/{info.version} fulfils: {text}")
    return derive(store, *into, _header("filter", [info], parts, erased, condition=text), parts, on_unit)


def receipts_of(store: Store, info: DatasetInfo) -> list[Receipt]:
    """All receipts of a committed version, in the order of units. Raises ``CorruptDataError`` where they are not those
    that ``dataset.json`` was made of."""
    receipts = [read_receipt(store, info.prefix, unit) for unit in range(info.header.units)]
    if dataset_digest(receipts) != info.dataset_digest:
        raise CorruptDataError(
            f"{info.prefix}: the receipts do not have the digest that dataset.json names",
            hint="see what is wrong: deemo dataset verify",
        )
    return receipts


def derived_header(
    how: str, info: DatasetInfo, *, clips: int, erased: int, manifest_digest: str | None = None
) -> DatasetHeader:
    """The header of a version that takes the place of ``info``, with the same units."""
    derivation = Derivation(
        how=how,
        sources=(_source(info),),
        names=key_names(info.name, info.header),
        erased=erased + _erased(info),
        condition=info.header.derived.condition if info.header.derived else "",
        voices_key_id=info.header.derived.voices_key_id if info.header.derived else None,
    )
    manifest = manifest_digest or info.header.manifest_digest
    return replace(info.header, clips=clips, manifest_digest=manifest, derived=derivation)


def _allowed(receipt: Receipt, withdrawn: Suppressed) -> tuple[tuple[LedgerRow, ...], int]:
    """A receipt's rows without those of people who were withdrawn, and how many these are."""
    gone = withdrawn.of_receipt(receipt)
    rows = tuple(row for row in receipt.ledger if row.key not in gone)
    return rows, len(receipt.ledger) - len(rows)


def _owners(found: Sequence[tuple[int, Part]]) -> tuple[dict[str, int], int]:
    """Which source each clip is taken from, and how many clips several hold."""
    owners: dict[str, int] = {}
    rejected: dict[str, tuple[str | None, str | None]] = {}
    left_out: dict[str, int] = {}
    repeated = 0
    for number, part in found:
        for row in part.ledger:
            if row.stage == FILTER:
                left_out.setdefault(row.key, number)
            elif owners.setdefault(row.key, number) == number:
                rejected[row.key] = row.stage, row.reason
            else:
                repeated += row.status == "written" or rejected[row.key] != (row.stage, row.reason)
    return left_out | owners, repeated


def _filtered(row: LedgerRow) -> LedgerRow:
    return LedgerRow(key=row.key, unit=row.unit, status="rejected", stage=FILTER, reason="excluded")


def _header(
    how: str, infos: Sequence[DatasetInfo], parts: Sequence[Part], erased: int, *, condition: str = ""
) -> DatasetHeader:
    """The header of what is made of several versions of one policy."""
    first = infos[0].header
    manifests = list(dict.fromkeys(info.header.manifest_digest for info in infos))
    voices = {info.header.derived.voices_key_id if info.header.derived else None for info in infos} - {None}
    derivation = Derivation(
        how=how,
        sources=tuple(_source(info) for info in infos),
        names=tuple(sorted({name for info in infos for name in key_names(info.name, info.header)})),
        erased=erased + sum(_erased(info) for info in infos),
        condition=condition,
        voices_key_id=min(filter(None, voices), default=None),
    )
    return replace(
        first,
        manifest_digest=manifests[0] if len(manifests) == 1 else digest_of(manifests),
        units=len(parts),
        clips=sum(len(part.ledger) for part in parts),
        shard_bytes=max(info.header.shard_bytes for info in infos),
        demo_key=any(info.header.demo_key for info in infos),
        derived=derivation,
        order="key" if all(info.header.order == "key" for info in infos) else "manifest",
    )


def _source(info: DatasetInfo) -> Source:
    return Source(name=info.name, version=info.version, dataset_digest=info.dataset_digest)


def _erased(info: DatasetInfo) -> int:
    return info.header.derived.erased if info.header.derived else 0


def _refuse_unlike(infos: Sequence[DatasetInfo]) -> None:
    """One version once, one policy, one key."""
    if len(infos) < 2 or len({info.prefix for info in infos}) != len(infos):
        raise DatasetError("a merge takes two or more different versions", hint="deemo dataset ls shows what is there")
    first = infos[0]
    for info in infos[1:]:
        if info.header.policy_digest != first.header.policy_digest:
            raise DatasetError(
                f"{first.name}/{first.version} was made under the policy '{first.header.policy}' "
                f"({first.header.policy_digest[:12]}, key {first.header.key_id}), {info.name}/{info.version} under "
                f"'{info.header.policy}' ({info.header.policy_digest[:12]}, key {info.header.key_id})",
                hint="a dataset has one policy and one key: preprocess one of them again",
            )
    names = {name for info in infos for name in key_names(info.name, info.header)}
    if len(names) > 1:
        logger.warning(
            "merge: keys of %s are made apart, so somebody who is in several counts as several people; see that nobody "
            "is in the training split of one and the test split of another",
            ", ".join(sorted(names)),
        )


def _refuse_split_subjects(parts: Sequence[Part]) -> None:
    """A merge puts nobody into two splits who was in one in each source: scores would mean nothing."""
    splits: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for part in parts:
        for row in part.kept:
            splits[row.subject_key][part.source].add(row.split)
    for subject, by_source in splits.items():
        together = set().union(*by_source.values())
        if together not in by_source.values():
            raise DatasetError(
                f"subject {subject[:8]} would be in the splits {' and '.join(sorted(together))}",
                hint="splits are by subject: give the sources the same, or filter one of them first",
            )
