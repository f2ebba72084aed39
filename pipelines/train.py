"""``deemo train``: the stages of a run in order, on local ranks or as one rank of a launcher's."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deemo_dist.config import RunConfig, TrainRule, load, without_key
from deemo_dist.console import bind, logger
from deemo_dist.dataset import Dataset
from deemo_dist.environ import placement
from deemo_dist.errors import Interrupted, TrainingError
from deemo_dist.launch import run_ranks
from deemo_dist.storage import Store, open_store
from deemo_dist.tracking import TrackedRun, Tracker, check
from pipelines.batches import step_factory, validation_factory
from pipelines.card import model_card
from pipelines.curves import KeepCurve
from pipelines.datasets import open_allowed
from pipelines.erasure.descendants import WITH_PARENTS
from pipelines.export import export_model, export_place, is_exported, load_base
from pipelines.lineage import (
    BASE,
    PARENTS,
    base_of,
    begin_anew_over_others,
    check_parents,
    other_parent,
    parents_of,
    refuse_changed_base,
    states_of,
)
from pipelines.stages import PlannedStage, Selection, check_ranks, plan_stages, run_prefix
from pipelines.tracked import TrackStage, describe_run, open_tracker, tell_failed, tracking_folder

if TYPE_CHECKING:
    from deemo_dist.training import Commit, Ranks

_Rules = tuple[Mapping[str, TrainRule], ...]
ALL = Selection()


def run_train(run: str, overrides: Sequence[str], selection: Selection = ALL) -> None:
    """Train from a terminal: checks, then one process a rank. One of several that a launcher started is a rank itself.

    Raises ``Interrupted`` when a checkpoint was left on request, ``TrainingError`` when a rank failed.
    """
    config = load(run, list(overrides))
    if placement().world > 1:
        run_worker(config, selection)
        return
    selection.bounds(list(config.stages))
    check(config.tracking, tracking_folder(config))
    open_allowed(config, open_store(config.storage), ledger=False)
    told = without_key(overrides, "data.manifest")  # no rank reads raw clips
    command = [sys.executable, "-m", "pipelines.cli", "train", "-c", run, "--worker", *selection.arguments(), *told]
    code = run_ranks(command, ranks=config.engine.ranks, threads=config.engine.threads)
    if code == Interrupted.exit_code:
        raise Interrupted("training was stopped and left a checkpoint", hint="the same command goes on from there")
    if code:
        tell_failed(config, killed=code == 128 + signal.SIGINT)
        raise TrainingError(f"training failed with exit code {code}", hint="the failing rank's last lines are above")


def run_worker(config: RunConfig, selection: Selection = ALL) -> None:
    """The process body of one rank."""
    from deemo_dist.training import join, leave, listening, watching

    ranks = join(config.engine)
    bind(run=config.name, rank=ranks.rank)
    try:
        watch = watching(
            ranks.placement, ranks.progress, seconds=config.engine.watchdog_seconds, folder=stacks_folder(config)
        )
        with listening(), watch:
            try:
                _train_chain(config, ranks, selection)
            except Interrupted:
                _end_together(ranks)
                raise
    except Interrupted:  # all ranks agreed
        _be_deaf()
        leave()
        raise
    except BaseException:
        leave(failed=True)
        raise
    leave()


def _end_together(ranks: "Ranks") -> None:
    """Ranks that were told to stop leave at one time, the first one's tracker closed: SLURM ends all that are left
    once one has exited with 75. A collective."""
    ranks.progress.during("the end")
    with suppress(RuntimeError):  # one that is gone meanwhile is the launcher's to tell
        ranks.finish(None)


def _be_deaf() -> None:
    """This process has stopped as it was told; told again while it leaves, by a launcher that ends what is left once
    one rank has gone, it still exits as one that has stopped."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)


def stacks_folder(config: RunConfig) -> Path:
    """Where each rank writes its stacks when training stands still, on its own machine."""
    return Path(config.storage.cache) / "stacks" / config.name


@dataclass(frozen=True, kw_only=True)
class _Chain:
    """What all stages of a run share in this rank."""

    config: RunConfig
    store: Store
    dataset: Dataset
    processor: Any
    ranks: "Ranks"
    attempt: int
    idle: bool
    base: Mapping[str, str]
    stages: Sequence[PlannedStage]


def _train_chain(config: RunConfig, ranks: "Ranks", selection: Selection) -> None:
    """Stage after stage; done ones are skipped by their key. Rank 0 exports the model at the chain's end."""
    from deemo_dist.model import build_processor
    from deemo_dist.training import attempt_of

    ranks.progress.during("plans")
    store = open_store(config.storage)
    dataset = open_allowed(config, store, ledger=False)
    processor = build_processor(config.model)
    stages = _planned(ranks, lambda: plan_stages(config, dataset, processor, store))
    check_ranks(stages, ranks.world)
    if config.engine.preflight:
        ranks.progress.during("preflight")
        ranks.decided_by_first(lambda: _preflight(config, store, dataset, processor, stages, ranks.world))
    first, end = selection.bounds([stage.name for stage in stages])
    idle = ranks.decided_by_first(lambda: _nothing_left(config, store, stages, end))
    if not idle:
        check_parents(store, stages[:first], ranks)
    parents = parents_of(store, stages[:first], f"stage {stages[first].name}")
    base = {} if idle else base_of(config, ranks)
    ranks.decided_by_first(lambda: refuse_changed_base(config, store, stages[:end], base))
    chain = _Chain(
        config=config,
        store=store,
        dataset=dataset,
        processor=processor,
        ranks=ranks,
        attempt=0 if idle else attempt_of(ranks, store, run_prefix(config)),  # none that would fence a living one
        idle=idle,
        base=base,
        stages=stages,
    )
    with _tracking(chain) as tracker:
        done = list(parents)
        for stage in stages[first:end]:
            before = tuple(each.config.trains for each in stages[: len(done)])
            ranks.progress.during(f"stage {stage.name}: what it builds on")
            done.append(_stage(chain, stage, done, before, tracker))
        ranks.progress.during("export")
        if ranks.rank == 0 and end == len(stages):
            _export(chain, stages, done, tracker)


def _planned(ranks: "Ranks", plan: Callable[[], tuple[PlannedStage, ...]]) -> tuple[PlannedStage, ...]:
    """The plan, made by the first rank and then by the others out of what it stored. A collective: measuring a large
    dataset takes hours, and a collective would not wait so long for the slower ones."""
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(plan) if ranks.rank == 0 else None
        ranks.finish(job)
    ranks.decided_by_first(lambda: job is None or bool(job.result()))
    return plan() if job is None else job.result()


def _preflight(
    config: RunConfig, store: Store, dataset: Dataset, processor: Any, stages: Sequence[PlannedStage], world: int
) -> None:
    """The doctor's checks of the stages that are not done yet, on the first rank."""
    from deemo_dist.training import finished
    from pipelines.doctor import Known, preflight

    left = [stage for stage in stages if finished(store, stage.prefix, stage.key) is None]
    if left:
        known = Known(config=config, world=world, steps=1, seconds=4.0, store=store, dataset=dataset)
        known.processor, known.stages = processor, left
        preflight(known)


def _nothing_left(config: RunConfig, store: Store, stages: Sequence[PlannedStage], end: int) -> bool:
    """Whether every chosen stage is done, over the stages before it as they are now, and the model exported where they
    reach the chain's end."""
    from deemo_dist.training import finished

    done: list[Commit] = []
    for stage in stages[:end]:
        found = finished(store, stage.prefix, stage.key)
        if found is None or other_parent(found[1], stages, done) is not None:
            return False
        done.append(found[1])
    return end < len(stages) or is_exported(store, export_place(config, stages[-1]), done)


@contextmanager
def _tracking(chain: _Chain) -> Iterator[Tracker | None]:
    """The tracker on rank 0, with the parent run described; None elsewhere."""
    if chain.ranks.rank != 0:
        yield None
        return
    from deemo_dist.training import listening

    with (
        listening() as stop,
        open_tracker(chain.config, chain.store, attempt=chain.attempt, hurried=lambda: bool(stop)) as tracker,
    ):
        parent = tracker.parent({"deemo.run": chain.config.name})
        describe_run(parent, chain.config, chain.dataset, chain.store.uri(chain.dataset.prefix))
        yield tracker


def _stage(
    chain: _Chain, stage: PlannedStage, done: Sequence["Commit"], before: _Rules, tracker: Tracker | None
) -> "Commit":
    """Train one stage, or find it done; its final commit."""
    from deemo_dist.training import finished, finished_whole

    if chain.idle:  # nothing is built on it any more
        found = finished(chain.store, stage.prefix, stage.key)
    else:
        begin_anew_over_others(chain.store, stage, chain.stages, done, chain.ranks)
        found = finished_whole(chain.store, stage.prefix, stage.key, chain.ranks)
    if found is not None:
        if chain.ranks.rank == 0:
            logger.info("%s: done before (%d steps), skipped", stage.name, stage.plan.steps)
        return found[1]
    if tracker is None:
        _train(chain, stage, done, before, None)
    else:
        with tracker.stage(stage.name, {"deemo.run": chain.config.name}, training=stage.key) as run:
            _train(chain, stage, done, before, run)
    found = finished(chain.store, stage.prefix, stage.key)
    if found is None:
        raise TrainingError(f"stage {stage.name} ended without its final checkpoint", hint="look at the lines above")
    return found[1]


def _train(
    chain: _Chain, stage: PlannedStage, done: Sequence["Commit"], before: _Rules, run: TrackedRun | None
) -> None:
    from deemo_dist.training import ProgressLines, StageSpec, train_stage

    config = chain.config
    curve = KeepCurve(chain.store, stage.prefix)
    callbacks: tuple[Any, ...] = () if run is None else (ProgressLines(), TrackStage(run, stage), curve)
    train_stage(
        StageSpec(
            name=stage.name,
            stage=stage.config,
            engine=config.engine,
            seed=config.seed,
            model=lambda: load_base(config),
            batches=step_factory(config, chain.dataset, chain.store, chain.processor, stage),
            total_steps=stage.plan.steps,
            store=chain.store,
            run_prefix=run_prefix(config),
            prefix=stage.prefix,
            stage_key=stage.key,
            validation=validation_factory(config, chain.dataset, chain.store, chain.processor, stage),
            parents=tuple(done),
            before=before,
            callbacks=callbacks,
            before_commit=None if run is None else curve.before_commit,
            extra={
                "plan_digest": stage.plan.digest,
                BASE: dict(chain.base),
                PARENTS: states_of(done),
                **learned_from(stage, done),
            },
            attempt=chain.attempt,
        )
    )


def learned_from(stage: PlannedStage, done: Sequence["Commit"]) -> dict[str, Any]:
    """What a stage's commits say of the datasets that their weights learned from: its own, and those of the stages
    before it, whose final commits are ``done``."""
    before = {prefix: digest for commit in done for prefix, digest in commit.extra.get("datasets", {}).items()}
    own = {dataset.prefix: dataset.digest for dataset in stage.datasets}
    return {"datasets": {**before, **own}, WITH_PARENTS: True}


def run_export(config: RunConfig, last: str | None, *, adapters: bool) -> str:
    """Export what was trained up to stage ``last`` (None: all); the URI. Raises ``TrainingError`` where it is not
    done."""
    from deemo_dist.model import build_processor

    store = open_store(config.storage)
    dataset = open_allowed(config, store, ledger=False)
    stages = plan_stages(config, dataset, build_processor(config.model), store)
    _, end = Selection(last=last).bounds([stage.name for stage in stages])
    chosen = stages[:end]
    commits = parents_of(store, chosen, "the export")
    place = export_place(config, chosen[-1], adapters=adapters)
    card = model_card(config, dataset.info, chosen)
    export_model(config, store, place, commits, chosen, card, adapters=adapters)
    return store.uri(place)


def _export(chain: _Chain, stages: Sequence[PlannedStage], done: Sequence["Commit"], tracker: Tracker | None) -> None:
    """Put the final model into the store, once, and into MLflow."""
    place = export_place(chain.config, stages[-1])
    card = model_card(chain.config, chain.dataset.info, stages)
    folder = export_model(chain.config, chain.store, place, done, stages, card)
    logger.info("model: %s", chain.store.uri(place))
    if tracker is not None:
        parent = tracker.parent()
        parent.set_tags({"deemo.model": place})
        parent.log_model(folder, "model", register_as=chain.config.tracking.register_as, stored=place)
