"""The erasure that is under way: one at a time under a prefix, kept sealed until it is done.

Its record lies at one key, which whoever begins puts if it is free: that is the lock. A process that died leaves it
there, and the next `deemo dataset erase`, of whomever, finishes it first. Records that lie beside it, a key a person,
are of the time before there was one lock; they are finished too.
"""

from dataclasses import dataclass, replace

from deemo_dist.dataset.codec import check_version, from_plain, parse_json
from deemo_dist.dataset.lifecycle.erasure import Erasure
from deemo_dist.dataset.lifecycle.suppression import Row, token_of
from deemo_dist.deid import KeyRing
from deemo_dist.deid.keys import person_token
from deemo_dist.digests import canonical_json
from deemo_dist.errors import (
    AlreadyExistsError,
    ConfigError,
    CorruptDataError,
    DatasetError,
    DeemoError,
    NotFoundError,
)
from deemo_dist.records import plain_subject
from deemo_dist.storage import Store, Stored
from pipelines.erasure.withdrawn import spellings

FOLDER = "erasures/pending"
LOCK = f"{FOLDER}/erasure.json"
PENDING_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A record and where it lies."""

    key: str
    erasure: Erasure


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Who was asked for: the raw ``subject`` or the ``subject_key``; ``token`` tells the same person again."""

    token: str
    subject: str | None
    subject_key: str | None

    @classmethod
    def by(cls, ring: KeyRing, subject: str | None, subject_key: str | None) -> "Asked":
        """Raises ``ConfigError`` unless one person is named."""
        if (subject is None) == (subject_key is None):
            raise ConfigError("name one person", hint="by --subject-file, --subject-key, or when asked")
        if subject is not None:
            if not subject.strip():
                raise ConfigError("the subject is empty", hint="write it as the manifest does")
            token = person_token(ring.suppression_key(), plain_subject(subject))
            return cls(token=token, subject=subject, subject_key=None)
        key = subject_key or ""
        if len(key) != 32 or not set(key) <= set("0123456789abcdef"):
            raise ConfigError("that is no subject key", hint="32 hexadecimal digits, as the index has it")
        return cls(token=token_of("pending", key).token, subject=None, subject_key=key)

    def rows(self, ring: KeyRing) -> tuple[Row, ...]:
        """What keeps the person out, by what is known of them without looking."""
        if self.subject_key is not None:
            return (token_of("subject", self.subject_key),)
        names = sorted(spellings(self.subject or ""))
        return tuple(Row("person", person_token(ring.suppression_key(), name)) for name in names)

    def is_of(self, pending: Pending, ring: KeyRing) -> bool:
        """Whether an erasure is of who was asked for, however it was asked for then."""
        asked = self.subject_key if self.subject is None else ring.subject_key(self.subject)
        before = f"{FOLDER}/{token_of('pending', asked or '').token[:32]}"
        erasure = pending.erasure
        return (
            erasure.asked == self.token
            or pending.key == before
            or self.subject_key in erasure.subjects
            or Row("person", self.token) in erasure.rows
        )


def lock(store: Store, ring: KeyRing, erasure: Erasure) -> Pending:
    """Begin an erasure. Raises ``DatasetError`` where one was begun meanwhile."""
    try:
        store.put_new(LOCK, _sealed(ring, erasure))
    except AlreadyExistsError:
        raise DatasetError(
            "another erasure was begun while this one was decided: nothing was changed",
            hint="run it again: it finishes the other one first",
        ) from None
    return Pending(key=LOCK, erasure=erasure)


def under_way(store: Store, ring: KeyRing) -> Pending | None:
    """An erasure that is not done. Raises ``DatasetError`` for one of another root key: it must be finished first."""
    for key in store.list(FOLDER):
        try:
            return Pending(key=key, erasure=_unsealed(ring, store.get(key), key))
        except NotFoundError:  # another process has just finished it
            continue
    return None


def held(store: Store, ring: KeyRing, pending: Pending) -> Erasure | None:
    """The record of an erasure as it is kept now; None where it is done, by another process."""
    try:
        erasure = _unsealed(ring, store.get(pending.key), pending.key)
    except NotFoundError:
        return None
    except DatasetError:  # of another root key by now
        return None
    return erasure if erasure.id == pending.erasure.id else None


def keep(store: Store, ring: KeyRing, pending: Pending, erasure: Erasure) -> Erasure:
    """Keep what an erasure has come to. Raises ``DatasetError`` where another process has finished it."""
    before = held(store, ring, pending)
    if before is None:
        raise DatasetError("the erasure was finished by another process meanwhile", hint="see erasures/")
    if before != erasure:
        store.put(pending.key, _sealed(ring, erasure))
    return erasure


def drop(store: Store, ring: KeyRing, pending: Pending) -> None:
    """Remove the record with all its older versions: the next erasure may begin. One of another erasure stays."""
    for stored in store.history(FOLDER):
        if stored.key == pending.key and (stored.marker or _is_record(store, stored, ring, pending)):
            store.remove(stored)


def _is_record(store: Store, stored: Stored, ring: KeyRing, pending: Pending) -> bool:
    """Whether something that was kept is of this erasure."""
    try:
        return _unsealed(ring, store.read(stored), pending.key).id == pending.erasure.id
    except DeemoError:
        return False


def _sealed(ring: KeyRing, erasure: Erasure) -> bytes:
    """The record as it is kept: which root key opens it stands beside it."""
    sealed = ring.of("").seal(canonical_json(erasure)).hex()
    return canonical_json({"version": PENDING_VERSION, "key_id": ring.key_id, "sealed": sealed})


def _unsealed(ring: KeyRing, data: bytes, where: str) -> Erasure:
    """The record. Raises ``DatasetError`` where another root key sealed it, ``CorruptDataError`` for a damaged one."""
    key_id, sealed = _envelope(data, where)
    if key_id not in (None, ring.key_id):
        raise _of_another_key(f"the root key {key_id}")
    try:
        return from_plain(Erasure, parse_json(ring.of("").unseal(sealed), where), where)
    except ConfigError:
        if key_id is None:
            raise _of_another_key("another root key, or it is damaged") from None
        raise CorruptDataError(
            f"{where}: the record of an erasure is damaged", hint="restore it, or remove it"
        ) from None


def _envelope(data: bytes, where: str) -> tuple[str | None, bytes]:
    """The key id beside a sealed record and the record; before there was one lock, it had nothing beside it."""
    try:
        value = parse_json(data, where)
        check_version("pending", int(value["version"]), PENDING_VERSION, where)
        return str(value["key_id"]), bytes.fromhex(value["sealed"])
    except (CorruptDataError, KeyError, ValueError, TypeError):
        return None, data


def _of_another_key(which: str) -> DatasetError:
    return DatasetError(
        f"an erasure that is not finished was begun under {which}",
        hint="run `deemo dataset erase` with that key first, for anybody: it finishes that one",
    )


def empty(ring: KeyRing, asked: Asked, id_: str) -> Erasure:
    """An erasure of whom was asked for, of which nothing is known yet."""
    subjects = (asked.subject_key,) if asked.subject_key else ()
    rows = asked.rows(ring)
    return Erasure(
        id=id_,
        key_id=ring.key_id,
        subjects=subjects,
        samples=(),
        rows=rows,
        replaced=(),
        asked=asked.token,
        settled=False,
    )


def from_scratch(erasure: Erasure) -> Erasure:
    """What is left of an erasure that was decided before the lock was held: whom it is of."""
    return replace(erasure, samples=(), replaced=(), manifests=(), begun_from=(), settled=True)
