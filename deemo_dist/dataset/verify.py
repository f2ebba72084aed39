"""Proof that a dataset is whole: every clip in exactly one row, every row true. Problems come back as sentences."""

import io
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from deemo_dist.dataset.codec import from_plain, parse_json
from deemo_dist.dataset.compact import dataset_digest
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.info import DatasetInfo, read_info
from deemo_dist.dataset.layout import shard_key
from deemo_dist.dataset.opened import Allowed, check_attestations, read_parts, refuse_policy
from deemo_dist.dataset.receipts import committed_units, read_receipt
from deemo_dist.digests import canonical_json, digest_of_rows, sha256_bytes
from deemo_dist.errors import CorruptDataError, DeemoError, NotFoundError
from deemo_dist.records import Annotation, Attestation, IndexRow, LedgerRow, Receipt
from deemo_dist.records.sample import ANNOTATION_SCHEMA, INDEX_SCHEMA, LEDGER_SCHEMA


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

    Checks counts, ledger, index, receipts, digests and attestations; ``deep`` also reads every shard and checks its
    digest and each member. Raises ``DatasetError`` when the dataset is not complete, of another format, or of a policy
    that is weak (without ``allow_weak``) or not the ``allowed`` one.
    """
    info = read_info(store, name, version)
    refuse_policy(info, allow_weak=allow_weak, allowed=allowed)
    problems = [*_table_problems(store, info, allow_weak)]
    receipts, missing = _receipts(store, info)
    problems += missing
    if not missing:
        problems += _receipt_problems(info, receipts)
    for receipt in receipts:
        problems += _shard_problems(store, info, receipt, deep)
    return problems


def ledger_totals(ledger: Sequence[LedgerRow]) -> dict[str, int]:
    """How many clips were ``written``, and how many rejected by ``stage: reason``."""
    return dict(
        sorted(Counter("written" if r.status == "written" else f"{r.stage}: {r.reason}" for r in ledger).items())
    )


def _table_problems(store: Door, info: DatasetInfo, allow_weak: bool) -> Iterator[str]:
    """Index, ledger and annotations against each other and against the counts."""
    try:
        rows = read_parts(store, IndexRow, info.index, INDEX_SCHEMA)
        check_attestations(rows, info, allow_weak=allow_weak)
        index = list(rows)
        ledger = list(read_parts(store, LedgerRow, info.ledger, LEDGER_SCHEMA))
        annotations = list(read_parts(store, Annotation, info.annotations, ANNOTATION_SCHEMA))
    except DeemoError as error:
        yield str(error)
        return
    yield from _ledger_problems(info, index, ledger)
    if digest_of_rows(annotations) != info.annotations_digest:
        yield "the annotations do not have the digest that dataset.json names"
    strays = {row.key for row in annotations} - {row.key for row in index}
    if strays:
        yield f"{len(strays)} annotations belong to no sample"


def _ledger_problems(info: DatasetInfo, index: Sequence[IndexRow], ledger: Sequence[LedgerRow]) -> Iterator[str]:
    """Every clip in one row of the ledger, and every written row at its place in the index."""
    keys = Counter(row.key for row in ledger)
    repeated = [key for key, count in keys.items() if count > 1]
    if repeated:
        yield f"{len(repeated)} clips stand more than once in the ledger (first: {repeated[0]})"
    if not len(ledger) == info.clips == info.header.clips:
        yield f"the ledger has {len(ledger)} rows for {info.header.clips} clips"
    if len(index) != info.samples or info.samples + info.rejected != info.clips:
        yield f"{len(index)} samples and {info.rejected} rejections do not make {info.clips} clips"
    places = {row.key: (row.shard, row.members[0].offset if row.members else None) for row in index}
    written = {row.key: (row.shard, row.offset) for row in ledger if row.status == "written"}
    if places != written or len(places) != len(index):
        yield "index and ledger do not name the same samples at the same places"
    bad = [row.key for row in ledger if row.status != "written" and not (row.stage and row.reason)]
    if bad:
        yield f"{len(bad)} rejected clips have no stage and reason (first: {bad[0]})"


def _receipts(store: Door, info: DatasetInfo) -> tuple[list[Receipt], list[str]]:
    """All receipts that can be read, and what is wrong with the others."""
    receipts: list[Receipt] = []
    problems: list[str] = []
    done = committed_units(store, info.prefix)
    for unit in range(info.header.units):
        try:
            receipts.append(read_receipt(store, info.prefix, unit))
        except DeemoError as error:
            problems.append(f"unit {unit} has no readable receipt: {error}")
    extra = sorted(done - set(range(info.header.units)))
    if extra:
        problems.append(f"there are receipts of units that the manifest does not make: {extra[:5]}")
    return receipts, problems


def _receipt_problems(info: DatasetInfo, receipts: Sequence[Receipt]) -> Iterator[str]:
    """The receipts' rows against the digest in dataset.json, which index and ledger were compacted from."""
    if dataset_digest(receipts) != info.dataset_digest:
        yield "the receipts do not have the digest that dataset.json names"
    if {receipt.policy_digest for receipt in receipts} != {info.header.policy_digest}:
        yield "receipts were made under another policy than the dataset's"


def _shard_problems(store: Door, info: DatasetInfo, receipt: Receipt, deep: bool) -> list[str]:
    """A shard against its receipt: size always, bytes and members when ``deep``."""
    if receipt.tar is None:
        return [f"unit {receipt.unit} has samples but no shard"] if receipt.index else []
    key = shard_key(info.prefix, receipt.tar.name)
    try:
        size = store.size(key)
        if size != receipt.tar.size:
            return [f"{key}: {size} bytes instead of {receipt.tar.size}"]
        return _deep_problems(key, store.get(key), receipt) if deep else []
    except NotFoundError:
        return [f"{key} is missing"]
    except DeemoError as error:
        return [f"{key}: {error}"]


def _deep_problems(key: str, data: bytes, receipt: Receipt) -> list[str]:
    """Every member where and what the index says, and no other; the sample's own attestation as in the index."""
    assert receipt.tar is not None
    if sha256_bytes(data) == receipt.tar.sha256:
        problems = []
    else:
        problems = [f"{key}: its bytes do not have the receipt's digest"]
    expected = {f"{row.key}.{m.extension}": (m.offset, m.size, m.sha256) for row in receipt.index for m in row.members}
    found = _members(data)
    if found is None:
        return [*problems, f"{key}: not a readable tar"]
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    problems += [f"{key}: member {name} is not what the index says" for name in wrong]
    if not problems:
        problems = [f"{key}: {row.key} {fault}" for row in receipt.index if (fault := _json_fault(row, data))]
    return problems


def _members(data: bytes) -> dict[str, tuple[int, int, str]] | None:
    """Offset, size and digest of every member, as an independent reader (tarfile) sees them."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            return {m.name: (m.offset_data, m.size, sha256_bytes(_content(tar, m))) for m in tar}
    except tarfile.TarError:
        return None


def _content(tar: tarfile.TarFile, member: Any) -> bytes:
    source = tar.extractfile(member)
    return source.read() if source else b""


def _json_fault(row: IndexRow, data: bytes) -> str | None:
    """What is wrong with a sample's own JSON, if anything."""
    member = next((member for member in row.members if member.extension == "json"), None)
    if member is None:
        return "has no json"
    try:
        meta = parse_json(data[member.offset : member.offset + member.size], row.key)
        attestation = from_plain(Attestation, meta.get("attestation"), row.key)
    except CorruptDataError as error:
        return str(error)
    if canonical_json(attestation) != canonical_json(row.attestation):
        return "carries another attestation than its index row"
    return None
