"""Rejected clips that no manifest explains: a ledger has their keys and nothing that tells whose they are."""

from collections.abc import Collection, Sequence

from deemo_dist.dataset import manifest_digest
from deemo_dist.dataset.lifecycle.erasure import columns_of
from deemo_dist.dataset.lifecycle.versions import COMMITTED, TOMBSTONED, Version, key_names
from deemo_dist.dataset.receipts import committed_units, read_receipt
from deemo_dist.deid import KeyRing
from deemo_dist.errors import NotFoundError
from deemo_dist.records import Clip, LedgerRow
from deemo_dist.storage import Store
from pipelines.erasure.withdrawn import withdrawn_subjects


def unseen_versions(
    store: Store,
    versions: Sequence[Version],
    ring: KeyRing,
    manifests: Sequence[Sequence[Clip]],
    digests: Collection[str] = (),
) -> dict[str, int]:
    """Versions under the root key with rejected clips, or clips to come, that none of the ``manifests`` explains; and
    how many of them there are.

    A version is explained by a manifest of its digest, as it is or without those who withdrew, or by ``digests``; else
    each of its clips is by its key: of a merge, and of what was made from a manifest that was replaced since.
    """
    known: set[str] | None = None
    keys: dict[str, set[str]] = {}
    found: dict[str, int] = {}
    for version in versions:
        if version.header is None or version.header.key_id != ring.key_id:
            continue
        rejected = _rejected(store, version)
        to_come = version.info is None and version.header.derived is None and version.state != TOMBSTONED
        if not rejected and not to_come:
            continue
        known = {*digests, *_digests(store, ring, manifests)} if known is None else known
        if version.header.manifest_digest in known:
            continue
        for name in key_names(version.name, version.header):
            if name not in keys:
                keys[name] = {ring.of(name).sample_key(clip.uri) for clips in manifests for clip in clips}
            rejected -= keys[name]
        if rejected or to_come:
            found[version.label] = version.header.clips if to_come else len(rejected)
    return found


def _rejected(store: Store, version: Version) -> set[str]:
    """Keys of the clips that a version rejected: by its ledger, or by the receipts it has so far."""
    if version.info is not None and version.state == COMMITTED:
        rows = columns_of(store, version, LedgerRow, "key", "status") if version.info.rejected else ()
        return {key for key, status in rows if status == "rejected"}
    found: set[str] = set()
    for unit in committed_units(store, version.prefix):
        try:
            ledger_rows = read_receipt(store, version.prefix, unit).ledger
        except NotFoundError:  # removed since it was listed
            continue
        found |= {row.key for row in ledger_rows if row.status == "rejected"}
    return found


def _digests(store: Store, ring: KeyRing, manifests: Sequence[Sequence[Clip]]) -> set[str]:
    found: set[str] = set()
    for clips in manifests:
        out = withdrawn_subjects(clips, store, ring)
        found |= {manifest_digest(clips), manifest_digest([clip for clip in clips if clip.subject not in out])}
    return found
