"""``deemo dataset erase``: a withdrawal of consent, honoured in all that is kept under the prefix and on this machine.

The root key leads from the person to their keys. What is to be done is decided, agreed to and kept, sealed, under
``erasures/``: from then on this erasure is the only one under the prefix. Each step does what is left of it, so that a
run that was interrupted is finished by the same command, or by the next erasure of anybody.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from deemo_dist.config import RunConfig
from deemo_dist.console import logger, progress
from deemo_dist.dataset import read_manifest
from deemo_dist.dataset.lifecycle import erase as steps
from deemo_dist.dataset.lifecycle.erasure import Erasure
from deemo_dist.dataset.lifecycle.gc import drop_blocks
from deemo_dist.dataset.lifecycle.purge import Removed, purge_object
from deemo_dist.dataset.lifecycle.scan import file_holds_key
from deemo_dist.dataset.lifecycle.suppression import Suppressed, read_suppressed, suppress
from deemo_dist.deid import KeyRing
from deemo_dist.errors import DatasetError, DeemoError, NotFoundError
from deemo_dist.storage import Store, open_store
from deemo_dist.tracking.pictures import SHOWING, remove_pictures
from pipelines.erasure.pending import Asked, Pending, drop, empty, from_scratch, held, keep, lock, under_way
from pipelines.erasure.receipt import ErasureReceipt, put_receipt, receipt_of, standing_receipt
from pipelines.erasure.search import Found, Search
from pipelines.erasure.withdrawn import write_allowed
from pipelines.private import by_place
from pipelines.tracked import tracking_folder

ROUNDS = 5
After = Callable[[str], object]


@by_place()
def run_erase(
    config: RunConfig,
    *,
    subject: str | None,
    subject_key: str | None,
    manifest: str | None,
    without_manifest: bool = False,
    drop_damaged: bool = False,
    agree: Callable[[str], bool] = lambda _: True,
    after: After = lambda _: None,
) -> tuple[str, ErasureReceipt]:
    """Erase a person, told by the raw ``subject`` or by a ``subject_key``; the receipt's URI, and the receipt. One that
    was not finished, of whomever, is finished first.

    ``manifest``: a URI besides the store's own manifests, by which clips that were rejected are found too; where some
    are in none, only ``without_manifest``. ``drop_damaged``: others' samples that cannot be read are left out of the
    versions without the person. ``agree`` is told what will be done and answers; ``after`` is called with the name of
    each step that is done. Raises ``DatasetError`` where the person is unknown, or the proof fails.
    """
    store = open_store(config.storage)
    ring = KeyRing.open(config.keys, dataset=config.data.name)
    asked = Asked.by(ring, subject, subject_key)
    search = Search(config, store, ring, manifest, without=without_manifest)
    job = _Job(config=config, store=store, ring=ring, search=search, drop_damaged=drop_damaged, after=after)
    while (pending := under_way(store, ring)) is not None:
        mine = asked.is_of(pending, ring)
        logger.warning("an erasure that was not finished is finished%s", "" if mine else " first")
        done = job.finish(pending, asked if mine else None)
        if done is not None:
            logger.info("its receipt is at %s", done[0])
        if mine:
            return _done(job, done, asked)
    erasure = _decide(job, asked)
    if not agree(summary(erasure)):
        raise DatasetError("not agreed to: nothing was changed")
    pending = lock(store, ring, erasure)
    after("decide")
    return _done(job, job.finish(pending, asked), asked)


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


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What finishing an erasure takes."""

    config: RunConfig
    store: Store
    ring: KeyRing
    search: Search
    drop_damaged: bool
    after: After

    def finish(self, pending: Pending, asked: Asked | None) -> tuple[str, ErasureReceipt] | None:
        """Every step, whatever of it was done before, also by another process at the same time. None where nothing of
        the person was left by then."""
        try:
            return self._finish(pending, asked)
        except DeemoError:
            if held(self.store, self.ring, pending) is not None:
                raise
            return standing_receipt(self.store, pending.erasure.id)

    def _finish(self, pending: Pending, asked: Asked | None) -> tuple[str, ErasureReceipt] | None:
        store = self.store
        suppress(store, pending.erasure.key_id, pending.erasure.rows)
        self.after("suppress")
        found = self._look(pending, asked)
        here = found.named or found.erasure.replaced or found.erasure.manifests
        if not here and not pending.erasure.settled:  # another erasure, which came to its end since this was decided
            drop(store, self.ring, pending)
            return None
        for _ in range(ROUNDS):
            erasure = self._remove(pending, self._rewrite(pending, found.erasure, asked))
            found = self._look(pending, asked)
            if found.left or found.erasure != erasure:
                continue
            with progress("prove", None, unit="objects") as bar:
                swept, proof = steps.sweep(store, erasure.sought, bar.advance)
            erasure = self._keep(pending, replace(erasure, removed=erasure.removed + swept))
            self.after("prove")
            found = self._look(pending, asked)
            if not found.left and found.erasure == erasure:
                done = put_receipt(store, receipt_of(self.config, store, erasure, proof))
                self.after("receipt")
                drop(store, self.ring, pending)
                return done
        raise _restless()

    def _look(self, pending: Pending, asked: Asked | None) -> Found:
        """Look again, from what is kept: whatever was begun or came in meanwhile belongs to the erasure, by jobs that
        had read the suppression list before the person was on it. It is kept, for a run that is interrupted."""
        before = held(self.store, self.ring, pending)
        if before is None:
            raise DatasetError("the erasure was finished by another process meanwhile", hint="see erasures/")
        base = before if before.settled else from_scratch(before)
        found = self.search.look(base, asked)
        suppress(self.store, before.key_id, found.erasure.rows)
        if more := {each.label for each in found.erasure.replaced} - {each.label for each in before.replaced}:
            logger.info("erase: %s came in since it was decided", ", ".join(sorted(more)))
        return replace(found, erasure=self._keep(pending, found.erasure))

    def _keep(self, pending: Pending, erasure: Erasure) -> Erasure:
        return keep(self.store, self.ring, pending, erasure)

    def _rewrite(self, pending: Pending, erasure: Erasure, asked: Asked | None) -> Erasure:
        """Make all versions without the person before the old ones end: what stops it leaves these as they are. Raises
        ``DatasetError`` where there are others again each time that they are made."""
        with progress("rewrite", None, unit="shards") as bar:
            for _ in range(ROUNDS):
                made = steps.replace_versions(self.store, erasure, bar.advance, drop_damaged=self.drop_damaged)
                erasure = self._keep(pending, made)
                again = self._look(pending, asked).erasure
                if again == erasure:
                    self.after("rewrite")
                    return erasure
                erasure = again
        raise _restless()

    def _remove(self, pending: Pending, erasure: Erasure) -> Erasure:
        """End the old versions; remove them, the manifests with the person, and what shows them."""
        steps.bury(self.store, erasure)
        self.after("tombstone")
        erasure = self._count(pending, erasure, _replace_manifests(self, erasure))
        self.after("manifests")
        erasure = self._count(pending, erasure, steps.purge_replaced(self.store, erasure))
        self.after("remove")
        tracking = self.config.tracking
        pictures = len(remove_pictures(tracking, tracking_folder(self.config), erasure.sought.within))
        erasure = self._keep(pending, replace(erasure, pictures=erasure.pictures + pictures))
        self.after("mlflow")
        cached = _clean_caches(self.config, self.store, erasure)
        erasure = self._keep(pending, replace(erasure, cached=erasure.cached + cached))
        self.after("caches")
        return erasure

    def _count(self, pending: Pending, erasure: Erasure, removed: Removed) -> Erasure:
        return self._keep(pending, replace(erasure, removed=erasure.removed + removed))


def _decide(job: _Job, asked: Asked) -> Erasure:
    """Find the person's keys under every dataset's name, and all that holds them."""
    job.search.refuse_without_manifest()
    found = job.search.look(empty(job.ring, asked, secrets.token_hex(8)), asked)
    if not found.named and not found.erasure.replaced:
        raise _nobody(job, asked)
    return found.erasure


def _done(job: _Job, done: tuple[str, ErasureReceipt] | None, asked: Asked) -> tuple[str, ErasureReceipt]:
    if done is None:
        raise _nobody(job, asked)
    return done


def _nobody(job: _Job, asked: Asked) -> DatasetError:
    """Why there is nothing to erase."""
    if _is_known(read_suppressed(job.store, job.ring.key_id), asked, job.ring):
        return DatasetError("that person was erased before: nothing of them is here", hint="see erasures/")
    return DatasetError(
        "nobody in the manifests and datasets of this prefix is that person",
        hint=f"is it spelled as in the manifest, and is the root key the dataset's ({job.ring.key_id} is given)?",
    )


def _restless() -> DatasetError:
    return DatasetError("the person keeps coming in while they are erased", hint="stop the jobs, run it again")


def _is_known(known: Suppressed, asked: Asked, ring: KeyRing) -> bool:
    return not known.rows.isdisjoint(asked.rows(ring))


def _replace_manifests(job: _Job, erasure: Erasure) -> Removed:
    """Write the manifests without the person, then remove those with."""
    store, removed = job.store, Removed()
    for each in erasure.manifests:
        if each.new is not None and store.exists(each.old) and not store.exists(each.new):
            try:
                clips = read_manifest(store.uri(each.old), job.config.storage)
            except NotFoundError:  # another process that finishes this erasure was faster
                continue
            write_allowed(job.search.without_person(erasure, clips), store, lambda: job.ring)
        removed += purge_object(store, each.old)
    return removed


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
