"""What the weights of a run's stages stand on: the base, by the digests of its parts, and the stages before."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from deemo_dist.config import RunConfig
from deemo_dist.console import logger
from deemo_dist.errors import DeemoError, ModelError, TrainingError
from deemo_dist.storage import Store
from deemo_dist.weights import use
from pipelines.curves import forget_curve
from pipelines.stages import PlannedStage

if TYPE_CHECKING:
    from deemo_dist.training import Commit, Ranks

BASE = "base"
"""Where a commit keeps the digests of the weights that its stage's model was made of, by part."""
PARENTS = "parents"
"""Where it keeps the final states of the stages before its own, in order."""
BASE_HINT = "put the earlier weights back, or train under another run name"


def base_of(config: RunConfig, ranks: "Ranks") -> dict[str, str]:
    """The digests of the base's parts, the same on every rank. A collective.

    One rank of each machine looks (the first alone where it reads the weights for all), while the others wait: what has
    never been hashed there may be of many gigabytes. Raises ``ModelError``: no weights, or others than on the first.
    """
    from deemo_dist.model.identity import base_digests

    use(config.weights)
    alone = config.engine.partition_at_build
    looks = ranks.rank == 0 or (not alone and ranks.placement.local_rank == 0)
    job = ranks.apart(lambda: base_digests(config.model, config.seed) if looks else None)
    first: dict[str, str] = ranks.decided_by_first(job.result)
    error: DeemoError | None = None
    try:
        if job.result() not in (None, first):
            error = ModelError("the weights on this machine are not those of the first rank's", hint="copy them anew")
    except DeemoError as found:
        error = found
    if not ranks.all_agree(error is None):
        raise error or ModelError("the weights on another machine are not those of the first rank's")
    return first


def refuse_changed_base(
    config: RunConfig, store: Store, stages: Sequence[PlannedStage], base: Mapping[str, str]
) -> None:
    """Raise ``ModelError`` where the newest checkpoint of a stage was trained over another base."""
    from deemo_dist.training import commits

    for stage in stages:
        newest = next(iter(commits(store, stage.prefix, stage.key)), None)
        if newest is not None:
            refuse_base_of(config, stage.name, newest[1], base)


def refuse_base_of(config: RunConfig, name: str, commit: "Commit", base: Mapping[str, str]) -> None:
    """Raise ``ModelError`` where a commit of stage ``name`` was trained over another base. One of before digests were
    kept is let pass."""
    from deemo_dist.model.identity import refuse_other_base

    model = config.model
    sources = {"llm": model.llm.source, "vision": model.vision.source, "audio": model.audio.source}
    whose = f"the checkpoint of stage {name} at step {commit.step}"
    refuse_other_base(commit.extra.get(BASE, {}), base, sources, whose, hint=BASE_HINT)


def check_parents(store: Store, stages: Sequence[PlannedStage], ranks: "Ranks") -> None:
    """Refuse to build on a stage whose checkpoint is no longer what was committed. A collective. Raises
    ``TrainingError``."""
    from deemo_dist.training import finished, finished_whole

    for stage in stages:
        done = ranks.decided_by_first(lambda: finished(store, stage.prefix, stage.key) is not None)  # noqa: B023
        if done and finished_whole(store, stage.prefix, stage.key, ranks) is None:
            raise TrainingError(
                f"the last checkpoint of stage {stage.name} is not whole",
                hint=f"train it again from the one before: deemo train -c RUN --from {stage.name}",
            )


def parents_of(store: Store, stages: Sequence[PlannedStage], child: str) -> list["Commit"]:
    """The final commits of the stages that ``child`` builds on. Raises ``TrainingError`` where one is not done, as it
    is configured now, or was trained over another checkpoint of one before it."""
    from deemo_dist.training import finished

    found = [(stage.name, finished(store, stage.prefix, stage.key)) for stage in stages]
    missing = [name for name, commit in found if commit is None]
    if missing:
        raise TrainingError(
            f"{child} builds on {missing[0]}, which is not done under this configuration",
            hint=f"train it first: deemo train -c RUN --until {missing[-1]}",
        )
    done = [commit[1] for _, commit in found if commit is not None]
    for number, commit in enumerate(done):
        other = other_parent(commit, stages, done[:number])
        if other is not None:
            raise TrainingError(
                f"{child} builds on {stages[number].name}, which was trained over another checkpoint of {other}",
                hint=f"train it again: deemo train -c RUN --from {stages[number].name}",
            )
    return done


def states_of(done: Iterable["Commit"]) -> list[str]:
    """What a commit keeps of the stages before its own, whose final commits are ``done``."""
    from deemo_dist.training import state_digest

    return [state_digest(commit) for commit in done]


def other_parent(commit: "Commit", stages: Sequence[PlannedStage], done: Sequence["Commit"]) -> str | None:
    """The first of ``stages`` that has another final state, of ``done``, than the one ``commit`` was trained over. A
    commit of before this was kept has none."""
    states = states_of(done)
    known = commit.extra.get(PARENTS, states)
    pairs = zip(stages, known, states, strict=False)
    return next((stage.name for stage, then, now in pairs if then != now), None)


def begin_anew_over_others(
    store: Store, stage: PlannedStage, stages: Sequence[PlannedStage], done: Sequence["Commit"], ranks: "Ranks"
) -> None:
    """Let go of a stage's checkpoints that were trained over other states of the stages before it than ``done``: it
    starts anew. A collective."""
    job = ranks.apart(lambda: _let_go_of_others(store, stage, stages, done) if ranks.rank == 0 else None)
    ranks.decided_by_first(job.result)


def _let_go_of_others(
    store: Store, stage: PlannedStage, stages: Sequence[PlannedStage], done: Sequence["Commit"]
) -> None:
    from deemo_dist.training import commits, discard

    newest = next(iter(commits(store, stage.prefix, stage.key)), None)
    other = other_parent(newest[1], stages, done) if newest is not None else None
    if other is not None:
        logger.warning("%s: trained again from the start, %s has another final checkpoint now", stage.name, other)
        forget_curve(store, stage.prefix)
        discard(store, stage.prefix)
