"""The suppression list: who was withdrawn, told by one-way tokens that only who meets the same key can compare.

``suppressed/{key id}.jsonl``, a row a token. A *person*'s token is an HMAC of the raw subject under the root key:
ingest and preprocessing compare it. Those of *subject* and *sample* keys are plain hashes of keys of 128 bits, which
nobody guesses: merge and filter compare them without a root key. The list names nobody and holds no key. ``earlier``
rows lead on to the list of a root key that was rotated away.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from deemo_dist.dataset.codec import check_version
from deemo_dist.dataset.layout import suppressed_key
from deemo_dist.digests import canonical_json, sha256_bytes
from deemo_dist.errors import CorruptDataError, NotFoundError, StorageError
from deemo_dist.records import IndexRow, LedgerRow, Receipt
from deemo_dist.storage import Store

SUPPRESSION_VERSION = 1
TRIES = 5


@dataclass(frozen=True, order=True)
class Row:
    """One row: ``kind`` is person, subject, sample, or earlier (``token``: a key id, ``sealed``: hex)."""

    kind: str
    token: str
    sealed: str = ""


@dataclass(frozen=True)
class Suppressed:
    """A whole list. False when it is empty."""

    rows: frozenset[Row] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.rows)

    def person(self, token: str) -> bool:
        """Whether the raw subject with this token was withdrawn."""
        return Row("person", token) in self.rows

    def of_receipt(self, receipt: Receipt) -> frozenset[str]:
        """Sample keys of a receipt's clips whose subject was withdrawn."""
        if not self.rows:
            return frozenset()
        gone = {row.key for row in receipt.index if self._subject(row)}
        return frozenset(gone | {row.key for row in receipt.ledger if self._sample(row)})

    def earlier(self) -> list[Row]:
        """The rows that lead on to other lists."""
        return sorted(row for row in self.rows if row.kind == "earlier")

    def _subject(self, row: IndexRow) -> bool:
        return token_of("subject", row.subject_key) in self.rows

    def _sample(self, row: LedgerRow) -> bool:
        return token_of("sample", row.key) in self.rows


def token_of(kind: str, key: str) -> Row:
    """The row for a subject's or a sample's key."""
    return Row(kind, sha256_bytes(f"deemo suppressed {kind} {key}".encode()))


def read_suppressed(store: Store, key_id: str) -> Suppressed:
    """The list of a root key; empty where there is none. Raises ``CorruptDataError`` for a damaged one."""
    key = suppressed_key(key_id)
    try:
        lines = store.get(key).decode().splitlines()
    except NotFoundError:
        return Suppressed()
    return Suppressed(frozenset(_row(line, key) for line in lines if line.strip()))


def suppress(store: Store, key_id: str, rows: Iterable[Row]) -> None:
    """Add rows to the list of a root key and see that they are there; writing them again changes nothing.

    Raises ``StorageError`` where others' writes keep undoing ours.
    """
    wanted = frozenset(rows)
    for _ in range(TRIES):
        known = read_suppressed(store, key_id).rows
        if wanted <= known:
            return
        lines = [canonical_json({"version": SUPPRESSION_VERSION, **vars(row)}) for row in sorted(known | wanted)]
        store.put(suppressed_key(key_id), b"\n".join(lines) + b"\n")
    raise StorageError("the suppression list is written by somebody else at the same time", hint="run it again")


def _row(line: str, where: str) -> Row:
    try:
        value = json.loads(line)
        check_version("suppression", int(value["version"]), SUPPRESSION_VERSION, where)
        return Row(str(value["kind"]), str(value["token"]), str(value.get("sealed", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CorruptDataError(f"{where}: a row cannot be read", hint="restore it: it keeps people out") from None
