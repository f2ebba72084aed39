"""The receipt of an erasure: what was done and what is left to people, without a key or a name."""

from dataclasses import dataclass
from datetime import UTC, datetime

from deemo_dist.config import RunConfig
from deemo_dist.dataset.codec import check_version, parse_json
from deemo_dist.dataset.lifecycle.erasure import Erasure
from deemo_dist.dataset.lifecycle.scan import Scan
from deemo_dist.dataset.lifecycle.versions import list_versions
from deemo_dist.digests import canonical_json
from deemo_dist.errors import NotFoundError
from deemo_dist.storage import Store
from pipelines.erasure.descendants import Descendant, descendants

RECEIPT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ErasureReceipt:
    """What was done, without a key or a name: kept at ``erasures/{id}.json`` for whoever must show it.

    ``versions``: [old, new or null, clips]; ``damaged``: samples of others that could not be read and are rejected in
    the new ones; ``descendants``: what learned from them; ``proof``: the last search, which found nothing; ``notes``:
    what this command cannot reach.
    """

    id: str
    at: str
    key_id: str
    keys: int
    versions: tuple[tuple[str, str | None, int], ...]
    manifests: tuple[tuple[str, str | None], ...]
    objects_removed: int
    bytes_removed: int
    cached_removed: int
    mlflow_removed: int
    descendants: tuple[Descendant, ...]
    proof: dict[str, int]
    notes: tuple[str, ...]
    damaged: int = 0
    version: int = RECEIPT_VERSION


def receipt_of(config: RunConfig, store: Store, erasure: Erasure, proof: Scan) -> ErasureReceipt:
    """The receipt of an erasure that is done, with what learned from the versions that ended."""
    after = [each.dataset_digest for each in erasure.replaced if each.new]
    return ErasureReceipt(
        id=erasure.id,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        key_id=erasure.key_id,
        keys=len(erasure.subjects) + len(erasure.samples),
        versions=tuple((each.label, each.new, each.clips) for each in erasure.replaced),
        manifests=tuple((each.old, each.new) for each in erasure.manifests),
        objects_removed=erasure.removed.objects,
        bytes_removed=erasure.removed.bytes,
        cached_removed=erasure.cached,
        mlflow_removed=erasure.pictures,
        descendants=tuple(descendants(store, [each.dataset_digest for each in erasure.replaced], after)),
        proof={"objects": proof.objects, "bytes": proof.bytes, "found": len(proof.found)},
        notes=_notes(config, store, erasure),
        damaged=sum(each.damaged for each in erasure.replaced),
    )


def put_receipt(store: Store, receipt: ErasureReceipt) -> tuple[str, ErasureReceipt]:
    """Put a receipt; its URI, and what stands there: that of a process that finished the same erasure before, unless
    this one found more."""
    standing = standing_receipt(store, receipt.id)
    if standing is not None and (standing[1].versions, standing[1].manifests) == (receipt.versions, receipt.manifests):
        return standing
    store.put(_key(receipt.id), canonical_json(receipt))
    return store.uri(_key(receipt.id)), receipt


def standing_receipt(store: Store, erasure: str) -> tuple[str, ErasureReceipt] | None:
    """The URI of the receipt of the erasure of this id, and the receipt; None where it is not done."""
    key = _key(erasure)
    try:
        return store.uri(key), _receipt_from(store.get(key), key)
    except NotFoundError:
        return None


def _key(erasure: str) -> str:
    return f"erasures/{erasure}.json"


def _receipt_from(data: bytes, where: str) -> ErasureReceipt:
    """A receipt from JSON. Raises ``DatasetError`` for a newer format."""
    value = parse_json(data, where)
    check_version("erasure receipt", int(value["version"]), RECEIPT_VERSION, where)
    for name in ("versions", "manifests"):
        value[name] = tuple(tuple(row) for row in value[name])
    value["descendants"] = tuple(Descendant(**each) for each in value["descendants"])
    return ErasureReceipt(**{**value, "notes": tuple(value["notes"])})


def _notes(config: RunConfig, store: Store, erasure: Erasure) -> tuple[str, ...]:
    """What is left to people."""
    notes = [
        "raw clips are not touched: remove them where they are recorded",
        "other machines' caches: run `deemo dataset gc --cache --delete` on each node that trained",
        "what is outside of the prefix (manifests, reports, backups, downloads) is not reached",
    ]
    others = {v.header.key_id for v in list_versions(store) if v.header and v.header.key_id != erasure.key_id}
    if others:
        notes.append(
            f"datasets under the root keys {', '.join(sorted(others))}: run it with each of these keys too, and with "
            "the manifest that they were made from (--manifest ORIGINAL): the store's does not name the person any more"
        )
    if erasure.unseen:
        notes.append(f"rejected clips of {', '.join(erasure.unseen)} are in no manifest that was read: they stay there")
    if not any(row.kind == "person" for row in erasure.rows):
        notes.append("no manifest names the person: rejected clips were not looked for, and ingest cannot know them")
    if not config.tracking.enabled:
        notes.append("tracking is off in this run: MLflow was not looked into")
    return tuple(notes)


def told(uri: str, receipt: ErasureReceipt) -> str:
    """The receipt as lines for a terminal."""
    lines = [
        f"erased       {receipt.id}, {receipt.at}",
        *(f"version      {old} -> {new or 'nothing'} ({clips} clips less)" for old, new, clips in receipt.versions),
        *(f"manifest     {old} -> {new or 'nothing'}" for old, new in receipt.manifests),
        f"removed      {receipt.objects_removed} objects with their older versions, "
        f"{receipt.bytes_removed / 1e6:.1f} MB; {receipt.cached_removed} cached files; "
        f"{receipt.mlflow_removed} MLflow artifacts",
        *([f"damaged      {receipt.damaged} samples of others are rejected: unreadable"] if receipt.damaged else []),
        *(f"{each.verdict:12} {each.kind} {each.key}" for each in receipt.descendants),
        f"proof        {receipt.keys} keys of the person sought in {receipt.proof['objects']} objects, "
        f"{receipt.proof['bytes']} bytes: {receipt.proof['found']} found",
        *(f"left to you  {note}" for note in receipt.notes),
        f"receipt      {uri}",
    ]
    return "\n".join(lines)
