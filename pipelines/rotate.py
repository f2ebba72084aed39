"""``deemo keys rotate``: a dataset under a new root key. Needs both keys and the manifest, not the raw clips."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from deemo_dist.config import KeysConfig, RunConfig
from deemo_dist.console import logger, progress
from deemo_dist.dataset import DatasetInfo, read_info, read_manifest
from deemo_dist.dataset.codec import from_plain, parse_json
from deemo_dist.dataset.info import DatasetHeader, Derivation, Source
from deemo_dist.dataset.layout import dataset_prefix, header_key, info_key, tombstone_key
from deemo_dist.dataset.lifecycle.combine import receipts_of
from deemo_dist.dataset.lifecycle.purge import purge
from deemo_dist.dataset.lifecycle.rekey import DISGUISED, NewNames, rekey
from deemo_dist.dataset.lifecycle.suppression import read_suppressed
from deemo_dist.dataset.lifecycle.tombstones import put_tombstone, read_tombstone
from deemo_dist.dataset.lifecycle.versions import key_names, named
from deemo_dist.deid import KeyRing, policy_digest, policy_gate
from deemo_dist.errors import ConfigError, DatasetError, DeemoError, NotFoundError
from deemo_dist.records import Clip, Receipt
from deemo_dist.storage import Store, open_store
from pipelines.erasure.withdrawn import take_over
from pipelines.private import by_place

Voices = Literal["keep", "drop"]


@by_place()
def run_rotate(
    config: RunConfig,
    into: str,
    new_keys: KeysConfig,
    *,
    manifest: str | None,
    voices: Voices | None,
    tombstone: bool = False,
) -> DatasetInfo:
    """Make ``into`` (NAME/VERSION) of the run's dataset under the root key of ``new_keys``.

    ``voices``: whether sound in disguised voices, whose parameters came from the old key, is kept or dropped; it must
    be said where there is any. ``tombstone``: the old version is refused from then on. Raises ``ConfigError`` for keys
    that do not fit, ``DatasetError`` where the manifests do not name every clip, or somebody withdrew meanwhile.
    """
    store = open_store(config.storage)
    target = named(into)
    old = KeyRing.open(config.keys, dataset=config.data.name)
    new = KeyRing.open(new_keys, dataset=target[0])
    info = read_info(store, config.data.name, config.data.version)
    _refuse_keys(config, info, old, new)
    receipts = _without_withdrawn(store, info)
    disguised = sum(row.attestation.voice in DISGUISED for receipt in receipts for row in receipt.index)
    if disguised and voices is None:
        raise ConfigError(
            f"{disguised} samples speak in disguised voices whose parameters came from the old key",
            hint="--voices keep (dataset.json says so; not after a leak of the key), --voices drop, or preprocess anew",
        )
    names = _names(info, receipts, old, new, _clips(config, store, manifest))
    digest = policy_digest(config.policy, new.key_id)
    named_anew = replace(names, policy_digest=digest, drop_voices=voices == "drop")
    header = _header(info, receipts, new, digest, target[0], keeps_voices=bool(disguised) and voices == "keep")
    take_over(store, old, new)

    def still() -> None:
        _refuse_late(store, info, receipts, target, header)

    with progress("rotate", len(receipts), unit="shards") as bar:
        try:
            made = rekey(store, info.prefix, receipts, target, header, named_anew, bar.advance, still=still)
        except DeemoError:
            still()  # the source went away because somebody withdrew
            raise
    take_over(store, old, new)
    still()
    if tombstone:
        put_tombstone(store, info.prefix, why="rotation", replaced_by=into)
    return made


def _refuse_keys(config: RunConfig, info: DatasetInfo, old: KeyRing, new: KeyRing) -> None:
    """The old key is the dataset's, the new one another, and the run's policy the dataset's."""
    label = f"{info.name}/{info.version}"
    if info.header.key_id != old.key_id:
        raise ConfigError(
            f"{label} was made under the root key {info.header.key_id}, the run's is {old.key_id}",
            hint="give the old key by the run's `keys`, the new one by --new-variable or --new-file",
        )
    if new.key_id == old.key_id:
        raise ConfigError(f"the new root key is the old one ({old.key_id})", hint="make another")
    if policy_digest(config.policy, old.key_id) != info.header.policy_digest:
        raise DatasetError(
            f"{label} was de-identified by another policy ('{info.header.policy}') than the run's",
            hint="give the run the policy it was made by: the new attestations name the policy's digest",
        )
    policy_gate(config.policy, new, allow_weak=config.data.allow_weak_policy)


def _without_withdrawn(store: Store, info: DatasetInfo) -> list[Receipt]:
    """The receipts without the clips of people who withdrew."""
    withdrawn = read_suppressed(store, info.header.key_id)
    found: list[Receipt] = []
    for receipt in receipts_of(store, info):
        gone = withdrawn.of_receipt(receipt)
        found.append(
            replace(
                receipt,
                index=tuple(row for row in receipt.index if row.key not in gone),
                ledger=tuple(row for row in receipt.ledger if row.key not in gone),
                annotations=tuple(row for row in receipt.annotations if row.key not in gone),
            )
        )
    return found


def _refuse_late(
    store: Store, info: DatasetInfo, receipts: Sequence[Receipt], target: tuple[str, str], header: DatasetHeader
) -> None:
    """Raise ``DatasetError`` where somebody of the ``receipts`` withdrew since they were read, or the source ended.
    What was made so far ends then: an erasure under the old key knows an unfinished version, and no key in it."""
    label, prefix = "/".join(target), dataset_prefix(*target)
    withdrawn = read_suppressed(store, info.header.key_id)
    out = sum(len(withdrawn.of_receipt(receipt)) for receipt in receipts)
    made = store.exists(info_key(prefix))
    ended = not made and read_tombstone(store, info.prefix) is not None
    begun = _is_begun(store, prefix, header)
    if not (out or ended) or not (begun or read_tombstone(store, prefix)):
        return
    why = f"{out} clips are of people who withdrew" if out else f"{info.name}/{info.version} was tombstoned"
    if made:
        raise DatasetError(
            f"{why} while {label} was being made, and it is made",
            hint="erase them from it: `deemo dataset erase` with the new root key and --manifest ORIGINAL",
        )
    if begun:  # else the erasure has ended it
        put_tombstone(store, prefix, why="erasure", replaced_by=None)
        purge(store, prefix, keep=tombstone_key(prefix))
    raise DatasetError(
        f"{why} while {label} was being made: it was removed again",
        hint="run `deemo dataset erase` for them again, then rotate what took its place into another version",
    )


def _is_begun(store: Store, prefix: str, header: DatasetHeader) -> bool:
    """Whether the version was begun by this very rotation, and not as something else."""
    key = header_key(prefix)
    try:
        return from_plain(DatasetHeader, parse_json(store.get(key), key), key) == header
    except NotFoundError:
        return False


def _clips(config: RunConfig, store: Store, manifest: str | None) -> list[Clip]:
    """The clips of the manifest given, or of all in the store."""
    given = manifest or config.data.manifest
    uris = [given] if given else [store.uri(key) for key in store.list("manifests")]
    if not uris:
        raise ConfigError("there is no manifest: keys are hashes of what it names", hint="--manifest URI")
    return [clip for uri in uris for clip in read_manifest(uri, config.storage)]


def _names(
    info: DatasetInfo, receipts: Sequence[Receipt], old: KeyRing, new: KeyRing, clips: Sequence[Clip]
) -> NewNames:
    """New keys by old ones. Raises ``DatasetError`` where a clip of the dataset is in no manifest."""
    rings = [old.of(name) for name in key_names(info.name, info.header)]
    samples = {ring.sample_key(clip.uri): new.sample_key(clip.uri) for ring in rings for clip in clips}
    subjects = {
        ring.subject_key(subject): new.subject_key(subject)
        for ring in rings
        for subject in {clip.subject for clip in clips}
    }
    unknown = Counter(row.key not in samples for receipt in receipts for row in receipt.ledger) + Counter(
        row.subject_key not in subjects for receipt in receipts for row in receipt.index
    )
    if unknown[True]:
        raise DatasetError(
            f"{unknown[True]} clips or subjects of {info.name}/{info.version} are in no manifest",
            hint="--manifest with the one it was preprocessed from",
        )
    return NewNames(samples=samples, subjects=subjects, key_id=new.key_id, policy_digest="")


def _header(
    info: DatasetInfo, receipts: Sequence[Receipt], new: KeyRing, digest: str, name: str, *, keeps_voices: bool
) -> DatasetHeader:
    before = info.header.derived
    clips = sum(len(receipt.ledger) for receipt in receipts)
    voices = (before.voices_key_id if before else None) or info.header.key_id
    if keeps_voices:
        logger.info("rotate: disguised voices keep the parameters of the root key %s", voices)
    derivation = Derivation(
        how="rotate",
        sources=(Source(name=info.name, version=info.version, dataset_digest=info.dataset_digest),),
        names=(name,),
        erased=(before.erased if before else 0) + info.clips - clips,
        voices_key_id=voices if keeps_voices else None,
    )
    return replace(
        info.header,
        clips=clips,
        policy_digest=digest,
        key_id=new.key_id,
        demo_key=new.demo,
        derived=derivation,
        order="key",
    )
