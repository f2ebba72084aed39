"""The receipt of an erasure: what was done and what is left to people, without a key or a name."""

from dataclasses import dataclass
from datetime import UTC, datetime

from deemo_dist.config import RunConfig
from deemo_dist.dataset.lifecycle.erase import Erasure
from deemo_dist.dataset.lifecycle.purge import Removed
from deemo_dist.dataset.lifecycle.scan import Scan
from deemo_dist.dataset.lifecycle.versions import list_versions
from deemo_dist.storage import Store
from pipelines.descendants import Descendant, descendants

RECEIPT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ErasureReceipt:
    """What was done, without a key or a name: kept at ``erasures/{id}.json`` for whoever must show it.

    ``versions``: [old, new or null, clips]; ``descendants``: what learned from them; ``proof``: the last search, which
    found nothing; ``notes``: what this command cannot reach.
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
    version: int = RECEIPT_VERSION


def receipt_of(
    config: RunConfig, store: Store, erasure: Erasure, removed: Removed, cached: int, pictures: int, proof: Scan
) -> ErasureReceipt:
    """The receipt of an erasure that is done, with what learned from the versions that ended."""
    after = [each.dataset_digest for each in erasure.replaced if each.new]
    return ErasureReceipt(
        id=erasure.id,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        key_id=erasure.key_id,
        keys=len(erasure.subjects) + len(erasure.samples),
        versions=tuple((each.label, each.new, each.clips) for each in erasure.replaced),
        manifests=tuple((each.old, each.new) for each in erasure.manifests),
        objects_removed=removed.objects,
        bytes_removed=removed.bytes,
        cached_removed=cached,
        mlflow_removed=pictures,
        descendants=tuple(descendants(store, [each.dataset_digest for each in erasure.replaced], after)),
        proof={"objects": proof.objects, "bytes": proof.bytes, "found": len(proof.found)},
        notes=_notes(config, store, erasure),
    )


def _notes(config: RunConfig, store: Store, erasure: Erasure) -> tuple[str, ...]:
    """What is left to people."""
    notes = [
        "raw clips are not touched: remove them where they are recorded",
        "other machines' caches: run `deemo dataset gc --cache --delete` on each node that trained",
        "what is outside of the prefix (manifests, reports, backups, downloads) is not reached",
    ]
    others = {v.header.key_id for v in list_versions(store) if v.header and v.header.key_id != erasure.key_id}
    if others:
        notes.append(f"datasets under the root keys {', '.join(sorted(others))}: run it with each of these keys too")
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
        *(f"{each.verdict:12} {each.kind} {each.key}" for each in receipt.descendants),
        f"proof        {receipt.keys} keys of the person sought in {receipt.proof['objects']} objects, "
        f"{receipt.proof['bytes']} bytes: {receipt.proof['found']} found",
        *(f"left to you  {note}" for note in receipt.notes),
        f"receipt      {uri}",
    ]
    return "\n".join(lines)
