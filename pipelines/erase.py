"""``deemo dataset erase``: a withdrawal of consent, honoured in all that is kept under the prefix and on this machine.

The root key leads from the person to their keys. What is to be done is decided first and kept, sealed, under
``erasures/``; each step does what is left of it, so that a run that was interrupted is finished by the same command.
"""

import secrets
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from deemo_dist.config import RunConfig
from deemo_dist.console import progress
from deemo_dist.dataset import manifest_digest, read_manifest, write_manifest
from deemo_dist.dataset.codec import from_plain, parse_json
from deemo_dist.dataset.layout import manifest_key
from deemo_dist.dataset.lifecycle import erase as steps
from deemo_dist.dataset.lifecycle.erase import Erasure, ManifestChange
from deemo_dist.dataset.lifecycle.gc import drop_blocks
from deemo_dist.dataset.lifecycle.purge import Removed, purge_object
from deemo_dist.dataset.lifecycle.scan import file_holds_key
from deemo_dist.dataset.lifecycle.suppression import Row, read_suppressed, suppress, token_of
from deemo_dist.dataset.lifecycle.versions import Version, key_names, list_versions
from deemo_dist.deid import KeyRing
from deemo_dist.deid.keys import person_token
from deemo_dist.digests import canonical_json
from deemo_dist.errors import AlreadyExistsError, ConfigError, DatasetError, NotFoundError
from deemo_dist.records import Clip
from deemo_dist.storage import Store, open_store
from deemo_dist.tracking.pictures import SHOWING, remove_pictures
from pipelines.erasure_receipt import ErasureReceipt, receipt_of
from pipelines.private import by_place
from pipelines.tracked import tracking_folder
from pipelines.withdrawn import withdrawn_subjects

Manifests = dict[str, list[Clip]]


@by_place()
def run_erase(
    config: RunConfig,
    *,
    subject: str | None,
    subject_key: str | None,
    manifest: str | None,
    without_manifest: bool = False,
    agree: Callable[[str], bool] = lambda _: True,
    after: Callable[[str], object] = lambda _: None,
) -> tuple[str, ErasureReceipt]:
    """Erase a person, told by the raw ``subject`` or by a ``subject_key``; the receipt's URI, and the receipt.

    ``manifest``: a URI besides the store's own manifests, by which clips that were rejected are found too; without any,
    only ``without_manifest``. ``agree`` is told what will be done and answers; ``after`` is called with the name of
    each step that is done. Raises ``DatasetError`` where the person is unknown, or the proof fails.
    """
    store = open_store(config.storage)
    ring = KeyRing.open(config.keys, dataset=config.data.name)
    pending = _pending_key(ring, subject, subject_key)
    erasure = _resumed(store, ring, pending)
    if erasure is None:
        erasure = _decide(config, store, ring, subject, subject_key, manifest, without_manifest)
        if not agree(summary(erasure)):
            raise DatasetError("not agreed to: nothing was changed")
        try:
            store.put_new(pending, ring.of("").seal(canonical_json(erasure)))
        except AlreadyExistsError:
            raise DatasetError("the same erasure runs already", hint="wait for it, then run this again") from None
        after("decide")
    return _finish(config, store, ring, erasure, pending, after)


def summary(erasure: Erasure) -> str:
    """What an erasure will do, in lines."""
    lines = [f"One person, in {len(erasure.replaced)} versions:"]
    lines += [
        f"  {each.label}: {each.clips} clips; becomes {each.new or 'nothing'}, is tombstoned and removed"
        for each in erasure.replaced
    ]
    lines += [f"  {each.old}: becomes {each.new or 'nothing'}, is removed" for each in erasure.manifests]
    lines.append("The person is kept out of what is ingested, preprocessed and merged from now on.")
    return "\n".join(lines)


def _finish(
    config: RunConfig, store: Store, ring: KeyRing, erasure: Erasure, pending: str, after: Callable[[str], object]
) -> tuple[str, ErasureReceipt]:
    """Every step, whatever of it was done before."""
    suppress(store, erasure.key_id, erasure.rows)
    after("suppress")
    erasure = _with_latecomers(store, ring, erasure, pending)
    steps.bury(store, erasure)
    after("tombstone")
    with progress("rewrite", None, unit="shards") as bar:
        steps.replace_versions(store, erasure, bar.advance)
    after("rewrite")
    removed = _replace_manifests(config, store, erasure)
    after("manifests")
    removed += steps.purge_replaced(store, erasure)
    after("remove")
    pictures = remove_pictures(config.tracking, tracking_folder(config), erasure.sought.within)
    after("mlflow")
    cached = _clean_caches(config, store, erasure)
    after("caches")
    with progress("prove", None, unit="objects") as bar:
        swept, proof = steps.sweep(store, erasure.sought, bar.advance)
    after("prove")
    suppress(store, erasure.key_id, erasure.rows)
    receipt = receipt_of(config, store, erasure, removed + swept, cached, len(pictures), proof)
    key = f"erasures/{erasure.id}.json"
    store.put(key, canonical_json(receipt))
    after("receipt")
    purge_object(store, pending)
    return store.uri(key), receipt


def _with_latecomers(store: Store, ring: KeyRing, erasure: Erasure, pending: str) -> Erasure:
    """What was begun since the erasure was decided belongs to it; that is kept too, for a run that is interrupted."""
    whole = steps.with_latecomers(store, erasure)
    if whole != erasure:
        store.put(pending, ring.of("").seal(canonical_json(whole)))
    return whole


def _decide(
    config: RunConfig,
    store: Store,
    ring: KeyRing,
    subject: str | None,
    subject_key: str | None,
    manifest: str | None,
    without_manifest: bool,
) -> Erasure:
    """Find the person's keys under every dataset's name, and all that holds them."""
    versions = list_versions(store)
    own, others = _manifests(config, store, manifest)
    if not own and not others and not without_manifest:
        raise ConfigError(
            "there is no manifest: clips of the person that were rejected would stay in the ledger",
            hint="--manifest URI of what was preprocessed; or --without-manifest where no clip was rejected",
        )
    rings = [ring.of(name) for name in _names(config, ring, versions)]
    person = subject if subject is not None else _person_of(subject_key or "", rings, {**own, **others})
    subjects = {subject_key} if subject_key else set()
    clips = [clip for rows in (*own.values(), *others.values()) for clip in rows if clip.subject == person]
    samples = {each.sample_key(clip.uri) for each in rings for clip in clips}
    if person is not None:
        subjects |= {each.subject_key(person) for each in rings}
    samples |= steps.samples_of(store, versions, subjects)
    begun_from = _digests({**own, **others}, person, store, ring)
    replaced = steps.affected(store, versions, subjects, samples, begun_from=begun_from)
    manifests = _changes(own, person)
    if not clips and not replaced:
        raise _nobody(store, ring, person)
    return Erasure(
        id=secrets.token_hex(8),
        key_id=ring.key_id,
        subjects=tuple(sorted(subjects)),
        samples=tuple(sorted(samples)),
        rows=_rows(ring, subjects, samples, person),
        replaced=tuple(replaced),
        manifests=manifests,
        begun_from=begun_from,
    )


def _nobody(store: Store, ring: KeyRing, person: str | None) -> DatasetError:
    """Why there is nothing to erase."""
    known = read_suppressed(store, ring.key_id)
    if person is not None and known.person(person_token(ring.suppression_key(), person)):
        return DatasetError("that person was erased before: nothing of them is here", hint="see erasures/")
    return DatasetError(
        "nobody in the manifests and datasets of this prefix is that person",
        hint=f"is it spelled as in the manifest, and is the root key the dataset's ({ring.key_id} is given)?",
    )


def _rows(ring: KeyRing, subjects: Collection[str], samples: Collection[str], person: str | None) -> tuple[Row, ...]:
    """What keeps the person out from now on."""
    rows = [token_of("subject", key) for key in sorted(subjects)] + [token_of("sample", key) for key in sorted(samples)]
    if person is not None:
        rows.append(Row("person", person_token(ring.suppression_key(), person)))
    return tuple(rows)


def _pending_key(ring: KeyRing, subject: str | None, subject_key: str | None) -> str:
    """Where an erasure under way is kept: the same for the same command, and no key of the person."""
    if (subject is None) == (subject_key is None):
        raise ConfigError("name one person", hint="by --subject-file, --subject-key, or when asked")
    if subject_key is not None and (len(subject_key) != 32 or not set(subject_key) <= set("0123456789abcdef")):
        raise ConfigError("that is no subject key", hint="32 hexadecimal digits, as the index has it")
    if subject is not None and not subject.strip():
        raise ConfigError("the subject is empty", hint="write it as the manifest does")
    key = subject_key if subject is None else ring.subject_key(subject)
    return f"erasures/pending/{token_of('pending', key or '').token[:32]}"


def _resumed(store: Store, ring: KeyRing, pending: str) -> Erasure | None:
    try:
        sealed = store.get(pending)
    except NotFoundError:
        return None
    return from_plain(Erasure, parse_json(ring.of("").unseal(sealed), pending), pending)


def _names(config: RunConfig, ring: KeyRing, versions: Sequence[Version]) -> list[str]:
    """The dataset names whose sub-keys made keys under this root key."""
    names = {config.data.name}
    for version in versions:
        if version.header is not None and version.header.key_id == ring.key_id:
            names |= {version.name, *key_names(version.name, version.header)}
    return sorted(names)


def _manifests(config: RunConfig, store: Store, given: str | None) -> tuple[Manifests, Manifests]:
    """The store's own manifests by key, and the given one where it is none of them."""
    own = {key: read_manifest(store.uri(key), config.storage) for key in store.list("manifests")}
    wanted = given or config.data.manifest
    if not wanted or wanted in {store.uri(key) for key in own}:
        return own, {}
    clips = read_manifest(wanted, config.storage)
    return own, {} if manifest_key(manifest_digest(clips)) in own else {wanted: clips}


def _person_of(subject_key: str, rings: Sequence[KeyRing], manifests: Manifests) -> str | None:
    """The raw subject of a subject key, where a manifest names it."""
    for subject in {clip.subject for clips in manifests.values() for clip in clips}:
        if any(ring.subject_key(subject) == subject_key for ring in rings):
            return subject
    return None


def _digests(manifests: Manifests, person: str | None, store: Store, ring: KeyRing) -> tuple[str, ...]:
    """Digests of the manifests that name the person, as they are and without those who withdrew before: of either
    preprocessing may be under way."""
    found: set[str] = set()
    for clips in manifests.values():
        if any(clip.subject == person for clip in clips):
            out = withdrawn_subjects(clips, store, ring) - {person}
            left = [clip for clip in clips if clip.subject not in out]
            found |= {manifest_digest(clips), manifest_digest(left)}
    return tuple(sorted(found))


def _changes(manifests: Manifests, person: str | None) -> tuple[ManifestChange, ...]:
    """What becomes of the store's manifests that name the person."""
    found: list[ManifestChange] = []
    for key, clips in manifests.items():
        kept = [clip for clip in clips if clip.subject != person]
        if len(kept) < len(clips):
            digest = manifest_digest(kept) if kept else None
            new = manifest_key(digest) if digest else None
            found.append(ManifestChange(old=key, new=new, old_digest=manifest_digest(clips), new_digest=digest))
    return tuple(found)


def _replace_manifests(config: RunConfig, store: Store, erasure: Erasure) -> Removed:
    """Write the manifests without the person, then remove those with."""
    removed = Removed()
    rings: list[KeyRing] = []
    for each in erasure.manifests:
        if not store.exists(each.old):
            removed += purge_object(store, each.old)
            continue
        if each.new is not None and not store.exists(each.new):
            rings = rings or [KeyRing.open(config.keys, dataset=name) for name in _known_names(config, store)]
            clips = read_manifest(store.uri(each.old), config.storage)
            write_manifest([clip for clip in clips if not _is(clip, erasure, rings)], store)
        removed += purge_object(store, each.old)
    return removed


def _known_names(config: RunConfig, store: Store) -> list[str]:
    return _names(config, KeyRing.open(config.keys), list_versions(store))


def _is(clip: Clip, erasure: Erasure, rings: Sequence[KeyRing]) -> bool:
    """Whether a clip is of the person that is erased."""
    return any(ring.subject_key(clip.subject) in erasure.subjects for ring in rings)


def _clean_caches(config: RunConfig, store: Store, erasure: Erasure) -> int:
    """Remove from this machine's cache the blocks of shards that are no more, and pages and results with the keys."""
    live = {
        key.rpartition("/")[2]
        for each in erasure.replaced
        if each.new is not None
        for key in store.list(f"datasets/{each.new}/shards")
    }
    removed = drop_blocks(config.storage, {name for each in erasure.replaced for name in each.shards} - live)
    cache = Path(config.storage.cache)
    for path in cache.rglob("*") if cache.is_dir() else ():
        kept = path.relative_to(cache).parts[0] in ("shards", "models")
        if not kept and path.is_file() and path.suffix in SHOWING and file_holds_key(path, erasure.sought):
            path.unlink(missing_ok=True)
            removed += 1
    return removed
