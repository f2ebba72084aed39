"""What the weights of a run's stages stand on: the base, by the digests of its parts."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from deemo_dist.config import RunConfig
from deemo_dist.errors import DeemoError, ModelError
from deemo_dist.storage import Store
from deemo_dist.weights import use
from pipelines.stages import PlannedStage

if TYPE_CHECKING:
    from deemo_dist.training import Commit, Ranks

BASE = "base"
"""Where a commit keeps the digests of the weights that its stage's model was made of, by part."""
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
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(base_digests, config.model, config.seed) if looks else None
        ranks.finish(job)
    first: dict[str, str] = ranks.decided_by_first(lambda: job.result() if job else {})
    error: DeemoError | None = None
    try:
        if job is not None and job.result() != first:
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
