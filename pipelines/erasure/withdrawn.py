"""Whoever withdrew consent is left out of what is ingested and preprocessed, whatever manifest still names them."""

import unicodedata
from collections.abc import Callable, Iterator, Sequence

from deemo_dist.console import logger
from deemo_dist.dataset import write_manifest
from deemo_dist.dataset.lifecycle.purge import purge_object
from deemo_dist.dataset.lifecycle.suppression import Row, Suppressed, read_suppressed, suppress
from deemo_dist.deid import KeyRing
from deemo_dist.deid.keys import person_token
from deemo_dist.errors import DatasetError, DeemoError
from deemo_dist.records import Clip, plain_subject
from deemo_dist.storage import Store


def spellings(subject: str) -> set[str]:
    """A subject as it is written, and as others may write the same person: keys and tokens are of a spelling."""
    plain = plain_subject(subject)
    return {subject, plain, unicodedata.normalize("NFD", plain)}


def anyone_withdrawn(store: Store) -> bool:
    """Whether there is any suppression list under the prefix."""
    return bool(store.list("suppressed"))


def without_withdrawn(clips: Sequence[Clip], store: Store, ring: KeyRing) -> list[Clip]:
    """``clips`` without those of people on the suppression list of the root key, or of keys that it took over from.

    What is left is the manifest: plan, digest and ledger know nothing of the others. Raises ``DatasetError`` when
    nothing is left.
    """
    _warn_of_others(store, ring)
    out = withdrawn_subjects(clips, store, ring)
    kept = [clip for clip in clips if clip.subject not in out]
    if len(kept) < len(clips):
        logger.info("%d clips of people who withdrew are left out", len(clips) - len(kept))
    if not kept:
        raise DatasetError("every clip is of somebody who withdrew: nothing is left")
    return kept


def withdrawn_subjects(clips: Sequence[Clip], store: Store, ring: KeyRing) -> set[str]:
    """The raw subjects of ``clips`` who are on the list of the root key, or of keys that it took over from."""
    lists = list(_lists(store, ring))
    people = {clip.subject for clip in clips} if lists else set()
    return {
        who
        for who in people
        if any(known.person(person_token(key, name)) for key, known in lists for name in spellings(who))
    }


def write_allowed(clips: Sequence[Clip], store: Store, ring: Callable[[], KeyRing]) -> tuple[str, list[Clip]]:
    """Write the manifest of ``clips`` without those of people who withdrew, also while it was being written; its key,
    and the clips in it. ``ring`` opens the root key, which is needed where anybody withdrew.

    Raises ``DatasetError`` when nothing is left.
    """
    kept = _allowed(clips, store, ring)
    while True:
        key, _ = write_manifest(kept, store)
        try:
            left = _allowed(kept, store, ring)
        except DeemoError:
            purge_object(store, key)  # whether somebody of it withdrew is not known
            raise
        if len(left) == len(kept):
            return key, kept
        purge_object(store, key)
        kept = left


def _allowed(clips: Sequence[Clip], store: Store, ring: Callable[[], KeyRing]) -> list[Clip]:
    return without_withdrawn(clips, store, ring()) if anyone_withdrawn(store) else list(clips)


def refuse_withdrawn(clips: Sequence[Clip], store: Store, ring: KeyRing, label: str) -> None:
    """Raise ``DatasetError`` where somebody of ``clips`` withdrew since these were read to make ``label`` of them."""
    if out := withdrawn_subjects(clips, store, ring):
        raise DatasetError(
            f"{len(out)} people withdrew (under the root key {ring.key_id}) while {label} was being made",
            hint="run `deemo dataset erase` for them again, then preprocess into another data.version",
        )


def take_over(store: Store, old: KeyRing, new: KeyRing) -> None:
    """Let the new root key's list lead on to the old one's: what tells the old list's people is sealed under the new
    key, the old root key itself is not in it."""
    inherited = read_suppressed(store, old.key_id)
    if not inherited:
        return
    rows = [Row("earlier", old.key_id, new.of("").seal(old.suppression_key()).hex())]
    for row in inherited.earlier():
        rows.append(Row("earlier", row.token, new.of("").seal(old.of("").unseal(bytes.fromhex(row.sealed))).hex()))
    known = {row.token for row in read_suppressed(store, new.key_id).earlier()}
    suppress(store, new.key_id, [row for row in rows if row.token not in known])


def _warn_of_others(store: Store, ring: KeyRing) -> None:
    """Say which lists cannot be read: their people may come back."""
    applied = {ring.key_id, *(row.token for row in read_suppressed(store, ring.key_id).earlier())}
    listed = {key.split("/")[1].removesuffix(".jsonl") for key in store.list("suppressed")}
    if others := sorted(listed - applied):
        logger.warning(
            "who withdrew under the root key %s is not known under this one; `deemo keys rotate` takes lists over",
            ", ".join(others),
        )


def _lists(store: Store, ring: KeyRing) -> Iterator[tuple[bytes, Suppressed]]:
    """The lists that count for a root key, each with the key of its tokens."""
    own = read_suppressed(store, ring.key_id)
    if own:
        yield ring.suppression_key(), own
    for row in own.earlier():
        yield ring.of("").unseal(bytes.fromhex(row.sealed)), read_suppressed(store, row.token)
