"""The suppression list: who was withdrawn, told by one-way tokens that only who meets the same key can compare.

``suppressed/{key id}/{digest}.jsonl``, an object a withdrawal, a row a token: each is put once and never written again,
so that of two who add at once none undoes the other's rows. A *person*'s token is an HMAC of the raw subject under the
root key: ingest and preprocessing compare it. Those of *subject* and *sample* keys are plain hashes of 128-bit keys,
which nobody guesses: merge and filter compare them without a root key. The list names nobody and holds no key.
``earlier`` rows lead on to the list of a root key that was rotated away.
"""

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from deemo_dist.dataset.codec import check_version
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.layout import suppressed_key, suppressed_once_key, suppressed_prefix
from deemo_dist.digests import canonical_json, sha256_bytes
from deemo_dist.errors import AlreadyExistsError, CorruptDataError, NotFoundError
from deemo_dist.records import IndexRow, LedgerRow, Receipt

SUPPRESSION_VERSION = 1


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


def read_suppressed(store: Door, key_id: str) -> Suppressed:
    """The list of a root key; empty where there is none. Raises ``CorruptDataError`` for a damaged one."""
    rows: set[Row] = set()
    for key in (suppressed_once_key(key_id), *store.list(suppressed_prefix(key_id))):
        with contextlib.suppress(NotFoundError):
            rows |= {_row(line, key) for line in store.get(key).splitlines() if line.strip()}
    return Suppressed(frozenset(rows))


def suppress(store: Door, key_id: str, rows: Iterable[Row]) -> None:
    """Add rows to the list of a root key; adding them again changes nothing."""
    missing = frozenset(rows) - read_suppressed(store, key_id).rows
    if not missing:
        return
    data = b"".join(canonical_json({"version": SUPPRESSION_VERSION, **vars(row)}) + b"\n" for row in sorted(missing))
    with contextlib.suppress(AlreadyExistsError):  # the same rows, by somebody else at this moment
        store.put_new(suppressed_key(key_id, sha256_bytes(data)), data)


def _row(line: bytes, where: str) -> Row:
    try:
        value = json.loads(line)
        check_version("suppression", int(value["version"]), SUPPRESSION_VERSION, where)
        return Row(str(value["kind"]), str(value["token"]), str(value.get("sealed", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CorruptDataError(f"{where}: a row cannot be read", hint="restore it: it keeps people out") from None
