"""What was made from a dataset that is no more: checkpoints, exported models, and what is to become of each."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from deemo_dist.digests import canonical_json
from deemo_dist.errors import DeemoError
from deemo_dist.storage import Store, Stored
from pipelines.export import ADAPTERS

RETRAIN, RETIRE = "retrain", "retire"
WITH_PARENTS = "with_parents"
"""In a commit's ``extra``: its datasets are those of the stages before it too. Older commits name their own alone."""


@dataclass(frozen=True, kw_only=True)
class Descendant:
    """A checkpoint (its commit) or a model (its prefix) that learned from a dataset. ``verdict``: ``retrain`` what a
    stage or a run ended with, where a version without the person is there; ``retire`` everything else."""

    kind: str
    key: str
    run: str
    verdict: str


@dataclass(frozen=True, kw_only=True)
class _Checkpoint:
    """A commit: where, what it ``learned`` from (None: nothing of what is sought), whether it ended its stage, and
    whether that is ``whole``: what its weights learned in the stages before is in it."""

    stored: Stored
    run: str
    stage: str
    learned: frozenset[str] | None
    final: bool
    whole: bool


def descendants(store: Store, digests: Iterable[str], replaced: Iterable[str]) -> list[Descendant]:
    """All checkpoints and models of runs on datasets with these digests; ``replaced`` are those that have a successor.

    A commit that cannot be read counts as one of them, to be retired: nothing says that it is not. One that does not
    tell what the stages before it learned from counts where one that was done by then, of its run, is one of them.
    """
    wanted = frozenset(digest for digest in digests if digest)
    after = {digest for digest in replaced if digest}
    found: list[Descendant] = []
    stages: dict[str, str] = {}
    for each in _checkpoints(store, wanted) if wanted else ():
        if each.learned is None:
            continue
        verdict = RETRAIN if each.final and each.learned <= after else RETIRE
        found.append(Descendant(kind="checkpoint", key=each.stored.key, run=each.run, verdict=verdict))
        if each.final:
            stages[each.stage.rpartition("-")[2]] = verdict
    models = {tuple(key.split("/")[1:3]) for key in store.list("models") if key.count("/") > 2} if stages else set()
    for run, name in sorted(models):
        verdict = stages.get(name.removesuffix(ADAPTERS), "")
        if verdict:
            found.append(Descendant(kind="model", key=f"models/{run}/{name}", run=run, verdict=verdict))
    return found


def _checkpoints(store: Store, wanted: frozenset[str]) -> Iterator[_Checkpoint]:
    """Every commit under the prefix, with all that its weights learned from."""
    runs: dict[str, list[_Checkpoint]] = defaultdict(list)
    for stored in store.entries("runs"):
        parts = stored.key.split("/")
        if len(parts) == 5 and parts[3] == "commits" and stored.key.endswith(".json"):
            runs[parts[1]].append(_checkpoint(store, stored, wanted))
    for commits in runs.values():
        for each in commits:
            yield each if each.whole or each.learned else replace(each, learned=_before(each, commits))


def _before(each: _Checkpoint, commits: Iterable[_Checkpoint]) -> frozenset[str] | None:
    """What the stages of a run learned from that were done when a commit of a later one was put."""
    ends = [
        other.learned
        for other in commits
        if other.final and other.learned and other.stage != each.stage
        if other.stored.modified <= each.stored.modified
    ]
    return frozenset().union(*ends) or None


def _checkpoint(store: Store, stored: Stored, wanted: Iterable[str]) -> _Checkpoint:
    from deemo_dist.training.checkpoint.layout import commit_from_json

    _, run, stage, _, _ = stored.key.split("/")
    try:
        commit = commit_from_json(store.get(stored.key), stored.key)
    except DeemoError:
        return _Checkpoint(stored=stored, run=run, stage=stage, learned=frozenset({""}), final=False, whole=True)
    said = canonical_json(commit.extra).decode()
    learned = frozenset(digest for digest in wanted if digest in said) or None
    whole = bool(commit.extra.get(WITH_PARENTS))
    return _Checkpoint(stored=stored, run=run, stage=stage, learned=learned, final=commit.final, whole=whole)
