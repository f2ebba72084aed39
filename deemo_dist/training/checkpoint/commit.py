"""Attempts, fencing, commits and retention: everything about a checkpoint that is a small object in the store."""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from deemo_dist.digests import canonical_json
from deemo_dist.errors import AlreadyExistsError, CheckpointError, CorruptDataError, NotFoundError
from deemo_dist.training.checkpoint.layout import Commit, commit_from_json, commit_key, to_json

if TYPE_CHECKING:
    from deemo_dist.storage import Store


def take_attempt(store: "Store", run_prefix: str, *, world: int = 1) -> int:
    """Take the next attempt number of a run by put-if-absent, from 1. Whoever holds a lower one is fenced then."""
    taken = [_number(key) for key in store.list(f"{run_prefix}/attempts/")]
    number = max(taken, default=0) + 1
    while True:
        body = {"version": 1, "attempt": number, "world": world, "started": round(time.time(), 3)}
        try:
            store.put_new(_attempt_key(run_prefix, number), canonical_json(body))
        except AlreadyExistsError:
            number += 1
        else:
            return number


def check_fence(store: "Store", run_prefix: str, attempt: int) -> None:
    """Raise ``CheckpointError`` when a later attempt lives (numbers are taken without gaps, so one look is enough)."""
    if store.exists(_attempt_key(run_prefix, attempt + 1)):
        raise CheckpointError(
            f"attempt {attempt} of {run_prefix} may not commit: a later attempt has taken over",
            hint="the run was started a second time; this process ends",
        )


def put_commit(store: "Store", run_prefix: str, prefix: str, commit: Commit) -> str:
    """Write the commit, once and for ever, unless this attempt is fenced. Returns its key.

    Raises ``CheckpointError`` when fenced, or when another commit has this very step and attempt.
    """
    check_fence(store, run_prefix, commit.attempt)
    key = commit_key(prefix, commit.step, commit.attempt)
    data = to_json(commit)
    try:
        store.put_new(key, data)
    except AlreadyExistsError:
        # a retried put whose first answer was lost finds its own object
        if store.get(key) != data:
            raise CheckpointError(f"{key} is taken by another commit", hint="two processes share an attempt") from None
    return key


def commit_keys(store: "Store", prefix: str) -> list[str]:
    """Keys of all commits of a stage, newest step first."""
    return sorted((key for key in store.list(f"{prefix}/commits/") if key.endswith(".json")), reverse=True)


def step_of(key: str) -> int:
    """The steps that were done when the commit of this key was made."""
    return int(key.rsplit("/", 1)[-1].split("-")[0])


def read_commit(store: "Store", key: str, stage_key: str) -> Commit:
    """Read one commit. Raises ``CorruptDataError``, ``NotFoundError``, and ``CheckpointError`` for another stage's."""
    commit = commit_from_json(store.get(key), key)
    if commit.stage_key != stage_key:
        raise CheckpointError(
            f"{key} belongs to other data, another model or another configuration"
            f" (stage key {commit.stage_key[:12]}, expected {stage_key[:12]})",
            hint="choose another run name, or remove the old stage's checkpoints",
        )
    return commit


def commits(store: "Store", prefix: str, stage_key: str) -> Iterable[tuple[str, Commit]]:
    """Commits of a stage that can be read, newest first. Raises ``CheckpointError`` for another stage key."""
    for key in commit_keys(store, prefix):
        try:
            yield key, read_commit(store, key, stage_key)
        except (CorruptDataError, NotFoundError):
            continue


def finished(store: "Store", prefix: str, stage_key: str) -> tuple[str, Commit] | None:
    """Key and commit of a stage that is done, else None."""
    newest = next(iter(commits(store, prefix, stage_key)), None)
    return newest if newest is not None and newest[1].final else None


def prune(
    store: "Store",
    prefix: str,
    *,
    keep: int,
    made: int,
    attempt: int,
    protect: frozenset[int] = frozenset(),
    before: int | None = None,
    undone: Callable[[int], bool] = lambda step: False,
) -> None:
    """Retention: keep the newest ``keep`` commits up to the one of ``made`` steps whose weights are not ``undone``,
    those of the steps in ``protect``, and the newest such one of fewer than ``before`` steps; remove the others (commit
    first, so that none is ever left without its files) and what attempts up to ``attempt`` left uncommitted. Commits of
    more than ``made`` steps, which the stage did not go on from because they are damaged, stay and take no other one's
    place."""
    keys = commit_keys(store, prefix)
    good = [key for key in keys if step_of(key) <= made and not undone(step_of(key))]
    newest = good[: max(1, keep)]
    earlier = (step_of(key) for key in good if before is not None and step_of(key) < before)
    protect |= frozenset([max(earlier, default=-1)])
    kept: set[str] = set()
    for key in keys:
        name = key.rsplit("/", 1)[-1].removesuffix(".json")
        if key in newest or step_of(key) in protect or step_of(key) > made:
            kept.add(name)
        else:
            store.delete(key)
    for key in store.list(f"{prefix}/checkpoints/"):
        name = key.rsplit("/", 2)[-2]
        if name not in kept and int(name.split("-")[1]) <= attempt:
            store.delete(key)


def discard(store: "Store", prefix: str) -> None:
    """Remove all checkpoints of a stage, commits first: it starts anew."""
    for folder in ("commits", "checkpoints"):
        for key in store.list(f"{prefix}/{folder}/"):
            store.delete(key)


def _attempt_key(run_prefix: str, number: int) -> str:
    return f"{run_prefix}/attempts/{number:04d}.json"


def _number(key: str) -> int:
    stem = key.rsplit("/", 1)[-1].removesuffix(".json")
    return int(stem) if stem.isdigit() else 0


__all__ = [
    "Commit",
    "check_fence",
    "commit_keys",
    "commits",
    "discard",
    "finished",
    "prune",
    "put_commit",
    "read_commit",
    "step_of",
    "take_attempt",
]
