"""``deemo preprocess``: a manifest of raw clips -> de-identified shards, each committed once by its receipt.

A clip passes all stages inside one process tree: fetched to a private temporary file, streamed twice out of a sandbox
child, de-identified, encoded. Only units (URIs, sealed) go to a worker and only receipts come back, with what each
stage of their clips cost.
"""

import io
import time
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from deemo_dist.config import RunConfig
from deemo_dist.console import logger, progress
from deemo_dist.dataset import (
    DatasetHeader,
    DatasetInfo,
    Sample,
    UnitBuilder,
    begin_version,
    commit_unit,
    compact,
    dataset_prefix,
    manifest_digest,
    pending_units,
    read_info,
    read_manifest,
    read_receipt,
)
from deemo_dist.dataset.ingest import refuse_split_subjects
from deemo_dist.dataset.opened import missing_parts
from deemo_dist.deid import (
    Deidentifier,
    DeidResult,
    KeyRing,
    Meter,
    policy_digest,
    policy_gate,
    policy_strength,
    toolchain,
    weaknesses,
)
from deemo_dist.deid.terms import refuse_names
from deemo_dist.digests import digest_of
from deemo_dist.errors import ConfigError, DatasetError, MediaError, NotFoundError, RejectedClipError, StalledError
from deemo_dist.execution import run, share
from deemo_dist.media import SOUND_RATE, Bounds, Sandbox, VideoWriter, steady
from deemo_dist.records import Annotation, Clip, Receipt, Unit
from deemo_dist.storage import Store, open_store
from deemo_dist.weights import use
from pipelines.array import preprocess_array, refuse_no_room
from pipelines.erasure.withdrawn import refuse_withdrawn, without_withdrawn
from pipelines.private import by_place, fetch_raw, hiding_clip, private_folder
from pipelines.sealed import SealedUnit, units_of

READERS = 16
FETCHED = "bytes.fetch"


@dataclass(frozen=True, kw_only=True)
class UnitWorkerFactory:
    """Makes the worker in the process that will do the work, so that models and keys never travel."""

    config: RunConfig

    def __call__(self) -> "UnitWorker":
        """Load models and keys."""
        return UnitWorker(self.config)


class UnitWorker:
    """Turns units into committed shards. Holds the models; one a process."""

    def __init__(self, config: RunConfig) -> None:
        use(config.weights)
        self.config = config
        self.store = open_store(config.storage)
        self.prefix = dataset_prefix(config.data.name, config.data.version)
        self.ring = KeyRing.open(config.keys, dataset=config.data.name)
        self.policy_digest = policy_digest(config.policy, self.ring.key_id)
        self.toolchain_digest = digest_of({**toolchain(), "key_id": self.ring.key_id})
        self.bounds = Bounds.of(config.policy)
        self.deidentify = Deidentifier(config.policy, self.ring, config.nfbl)
        self.sandbox = Sandbox()
        self.fetched: Counter[str] = Counter()

    def __call__(self, sealed: SealedUnit) -> Receipt:
        """De-identify the clips of a unit and commit its shard; returns the receipt that stands."""
        started, self.deidentify.meter, self.fetched = time.monotonic(), Meter(), Counter()
        unit = sealed.open(self.ring)
        builder = UnitBuilder(
            unit.index, len(unit.clips), policy_digest=self.policy_digest, toolchain_digest=self.toolchain_digest
        )
        for clip in unit.clips:
            with hiding_clip(clip):
                self._take(clip, builder)
        spent = {**self.deidentify.meter.figures(), **_rough(self.fetched)}
        receipt, shard = builder.finish({"seconds": time.monotonic() - started, **spent})
        return commit_unit(self.store, self.prefix, receipt, shard)

    def _take(self, clip: Clip, builder: UnitBuilder) -> None:
        """One clip: written, or rejected with its stage and reason. What stalls is neither (``StalledError``)."""
        key = self.ring.sample_key(clip.uri)
        try:
            result, video = self._deidentify(clip, key)
        except RejectedClipError as rejection:
            builder.rejected(key, stage=rejection.stage, reason=rejection.reason)
            return
        except StalledError as stall:
            raise StalledError(f"clip {key}: {stall.message}", hint=stall.hint) from None
        annotation = Annotation(
            key=key,
            labels=dict(clip.labels),
            texts=result.texts,
            nfbl=(*clip.nfbl, *result.nfbl),
            transcript=result.transcript,
        )
        builder.written(self._sample(clip, key, result, video), annotation)

    def _deidentify(self, clip: Clip, key: str) -> tuple[DeidResult, bytes]:
        """Read the raw media once, into a private temporary folder that is gone afterwards; the masked video too."""
        spent = self.sandbox.cpu_seconds
        buffer = io.BytesIO()
        try:
            with private_folder(self.config.execution.raw_folder) as folder:
                path = self._fetch(clip, key, folder / key)
                with VideoWriter(buffer) as writer:
                    result = self.deidentify(clip, self.sandbox.open(path, self.bounds), writer)
        finally:
            self.deidentify.meter.count("decode", cpu_seconds=self.sandbox.cpu_seconds - spent)
        return result, buffer.getvalue()

    def _fetch(self, clip: Clip, key: str, into: Path) -> Path:
        """A raw clip as a local file. One that is gone from beside others is rejected; a store that does not answer,
        a place that this machine does not have or one too small is no fault of the clip and ends the run."""
        started = time.monotonic()
        try:
            path = fetch_raw(clip, self.config.storage, into, label=f"clip {key}")
        except NotFoundError as error:
            raise MediaError(error.message, stage="fetch", reason="missing") from None
        figures = {"seconds.fetch": time.monotonic() - started, FETCHED: path.stat().st_size}
        self.fetched.update(figures)
        return path

    def _sample(self, clip: Clip, key: str, result: DeidResult, video: bytes) -> Sample:
        """The sample's media as bytes, and what the index says of them."""
        shown = result.video
        self.deidentify.meter.count("encode", bytes=len(video) + len(result.flac or b""))
        return Sample(
            key=key,
            video=video,
            frames=shown.frames,
            fps=float(shown.fps),
            width=shown.width,
            height=shown.height,
            subject_key=self.ring.subject_key(clip.subject),
            source=clip.source,
            split=clip.split,
            subgroup=clip.subgroup,
            attestation=result.attestation,
            audio=result.flac,
            audio_seconds=result.samples / SOUND_RATE,
            cues=result.cues,
            hands=result.hands,
            cue_times=result.frame_times,
            frame_times=None if steady(result.frame_times, shown.fps) else result.frame_times,
            transcript=result.transcript,
        )


def _rough(fetched: Counter[str]) -> dict[str, float]:
    """The figures of fetching, bytes to the million: an exact sum would tell which files a unit was made of."""
    return {**fetched, FETCHED: round(fetched[FETCHED], -6)}


@by_place()
def run_preprocess(config: RunConfig) -> DatasetInfo | None:
    """De-identify what has no receipt yet, then commit the dataset; where it was and parts of it are gone, again.

    Returns ``dataset.json``'s content; None when this is one task of several (``execution.tasks``): another call
    without a task commits the whole. Raises ``DatasetError`` past ``data.failure_budget``, and where the data set fails
    a gate of its policy: it is withdrawn then.
    """
    from pipelines.audit import audit_gate

    if not config.data.manifest:
        raise ConfigError("data.manifest is not set", hint="make one: deemo ingest SOURCE -c RUN")
    refuse_no_room(config)
    use(config.weights)
    ring = KeyRing.open(config.keys, dataset=config.data.name)
    policy_gate(config.policy, ring, allow_weak=config.data.allow_weak_policy)
    store = open_store(config.storage)
    clips = without_withdrawn(read_manifest(config.data.manifest, config.storage), store, ring)
    refuse_names(clips)
    refuse_split_subjects(clips)
    units = units_of(clips, ring, config.data.shard_bytes)
    mine = share(units, config.execution)
    header = _header(config, ring, clips, units)
    begin_version(store, config.data.name, config.data.version, header)
    label = f"{config.data.name}/{config.data.version}"
    refuse_withdrawn(clips, store, ring, label)  # an erasure that did not see the version begun is seen here
    _do_units(config, mine, units)
    if config.execution.tasks > 1:
        return None
    if info := _whole(config, store):
        return info
    if _complete(config, store):  # it has passed its gates
        logger.warning("%s: parts that dataset.json names are missing and are made again of the receipts", label)
    else:
        audit_gate(config, clips)
    refuse_withdrawn(clips, store, ring, label)
    info = compact(store, config.data.name, config.data.version, units, header)
    logger.info("dataset %s/%s: %d samples in %d shards", info.name, info.version, info.samples, info.shards)
    return info


def _header(config: RunConfig, ring: KeyRing, clips: Sequence[Clip], units: Sequence[Unit]) -> DatasetHeader:
    return DatasetHeader(
        manifest_digest=manifest_digest(clips),
        units=len(units),
        clips=len(clips),
        shard_bytes=config.data.shard_bytes,
        policy=config.policy.name,
        policy_digest=policy_digest(config.policy, ring.key_id),
        key_id=ring.key_id,
        strength=policy_strength(config.policy),
        demo_key=ring.demo,
        weaknesses=weaknesses(config.policy),
        order="key",
    )


def _do_units(config: RunConfig, units: Sequence[Unit], everything: Sequence[Unit]) -> None:
    """Run the units without a receipt, within the budget of failures, those of an earlier life included. The budget is
    that of all clips, also where this is one task of several: its own share of them may happen to hold the bad ones."""
    store = open_store(config.storage)
    prefix = dataset_prefix(config.data.name, config.data.version)
    ring = KeyRing.open(config.keys, dataset=config.data.name)
    pending = pending_units(store, prefix, units)
    done = {unit.index for unit in units} - {unit.index for unit in pending}
    array = preprocess_array(config, store, prefix, everything) if config.execution.executor == "slurm" else None
    if array and not pending:  # what a driver that was killed has left
        array.ended()
    if not pending and _whole(config, store):
        logger.info("preprocess: nothing to do, all %d shards have their receipts", len(units))
        return
    if done:
        logger.info("preprocess: %d of %d shards have their receipts", len(done), len(units))
    budget = FailureBudget(config.data.failure_budget, sum(len(unit.clips) for unit in everything))
    _count_failures(budget, store, prefix, done)
    if not pending:
        return
    clips = sum(len(unit.clips) for unit in pending)
    with progress("preprocess", clips, unit="clips", groups=len(pending), group_unit="shards") as bar:

        def committed(_: SealedUnit, receipt: Receipt) -> None:
            bar.advance(len(receipt.ledger), groups=1)
            budget.spend(receipt)

        sealed = [SealedUnit.of(unit, ring) for unit in pending]
        factory = UnitWorkerFactory(config=_told(config))
        run(sealed, factory, config=config.execution, on_result=committed, array=array)


def _told(config: RunConfig) -> RunConfig:
    """The run as its workers know it: nothing of the manifest, and each with its share of the requests."""
    where = config.execution
    own = where.requests_per_second / (where.workers * where.tasks)
    rate = min(config.storage.requests_per_second, own)
    storage = replace(config.storage, requests_per_second=rate)
    return replace(config, data=replace(config.data, manifest=None), storage=storage)


def _count_failures(budget: "FailureBudget", store: Store, prefix: str, done: Collection[int]) -> None:
    """Count what was rejected before, from the receipts."""
    with ThreadPoolExecutor(READERS) as pool:
        for receipt in pool.map(lambda unit: read_receipt(store, prefix, unit), sorted(done)):
            budget.spend(receipt)


class FailureBudget:
    """Stops a job whose rejected clips pass ``share`` of ``clips``: something is wrong with all of them."""

    def __init__(self, share: float, clips: int) -> None:
        self.allowed = share * clips
        self.share = share
        self.reasons: Counter[str] = Counter()

    def spend(self, receipt: Receipt) -> None:
        """Count a unit's rejected clips. Raises ``DatasetError`` past the budget."""
        self.reasons.update(f"{row.stage}: {row.reason}" for row in receipt.ledger if row.status == "rejected")
        if self.reasons.total() > self.allowed:
            most = ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common(3))
            raise DatasetError(
                f"{self.reasons.total()} clips were rejected, more than {self.share:.0%} of all ({most})",
                hint="look into the reasons: what is rejected stays so in this version, so once they are mended set"
                " another data.version; or go on without these clips by a higher data.failure_budget",
            )


def _complete(config: RunConfig, store: Store) -> DatasetInfo | None:
    """The dataset's ``dataset.json`` where it is already written."""
    try:
        return read_info(store, config.data.name, config.data.version)
    except DatasetError:
        return None


def _whole(config: RunConfig, store: Store) -> DatasetInfo | None:
    """As :func:`_complete`, where every part that it names is there too."""
    info = _complete(config, store)
    return info if info and not missing_parts(store, info) else None
