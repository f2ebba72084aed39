"""What was made from a dataset that is no more: checkpoints, exported models, and what is to become of each."""

from collections.abc import Iterable
from dataclasses import dataclass

from deemo_dist.digests import canonical_json
from deemo_dist.errors import DeemoError
from deemo_dist.storage import Store

RETRAIN, RETIRE = "retrain", "retire"


@dataclass(frozen=True, kw_only=True)
class Descendant:
    """A checkpoint (its commit) or a model (its prefix) that learned from a dataset. ``verdict``: ``retrain`` what a
    stage or a run ended with, where a version without the person is there; ``retire`` everything else."""

    kind: str
    key: str
    run: str
    verdict: str


def descendants(store: Store, digests: Iterable[str], replaced: Iterable[str]) -> list[Descendant]:
    """All checkpoints and models of runs on datasets with these digests; ``replaced`` are those that have a successor.

    A commit that cannot be read counts as one of them, to be retired: nothing says that it is not.
    """
    wanted = sorted({digest for digest in digests if digest})
    after = {digest for digest in replaced if digest}
    found: list[Descendant] = []
    stages: dict[str, str] = {}
    for key in store.list("runs") if wanted else ():
        parts = key.split("/")
        if len(parts) != 5 or parts[3] != "commits" or not key.endswith(".json"):
            continue
        learned, final = _learned(store, key, wanted)
        if learned is None:
            continue
        verdict = RETRAIN if final and learned <= after else RETIRE
        found.append(Descendant(kind="checkpoint", key=key, run=parts[1], verdict=verdict))
        if final:
            stages[parts[2].rpartition("-")[2]] = verdict
    models = (
        sorted({tuple(key.split("/")[1:3]) for key in store.list("models") if key.count("/") > 2}) if stages else []
    )
    for run, stage in models:
        if stage in stages:
            found.append(Descendant(kind="model", key=f"models/{run}/{stage}", run=run, verdict=stages[stage]))
    return found


def _learned(store: Store, key: str, digests: Iterable[str]) -> tuple[set[str] | None, bool]:
    """Which of the datasets a commit learned from (None: from none of them), and whether it ended its stage."""
    from deemo_dist.training.checkpoint.layout import commit_from_json

    try:
        commit = commit_from_json(store.get(key), key)
    except DeemoError:
        return {""}, False
    said = canonical_json(commit.extra).decode()
    learned = {digest for digest in digests if digest in said}
    return learned or None, commit.final
