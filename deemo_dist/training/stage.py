"""One stage on one rank, from its specification to its last commit."""

import time
from collections.abc import Callable
from contextlib import closing

import torch

from deemo_dist.console import bind, logger
from deemo_dist.errors import CheckpointError, TrainingError
from deemo_dist.training.checkpoint.commit import finished
from deemo_dist.training.checkpoint.layout import Commit, commit_key
from deemo_dist.training.checkpoint.restore import restore
from deemo_dist.training.checkpoint.saver import Saver, Target
from deemo_dist.training.checkpoint.snapshot import Snapshot
from deemo_dist.training.consumption import reborn
from deemo_dist.training.engine import Engine, build_engine
from deemo_dist.training.guard import Guard
from deemo_dist.training.loop import Loop
from deemo_dist.training.ranks import Ranks, attempt_of, join
from deemo_dist.training.signals import StopFlag, listening
from deemo_dist.training.spec import CommitInfo, StageResult, StageSpec
from deemo_dist.training.tally import Tally
from deemo_dist.training.watchdog import watching

_PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "Timed out waiting", "Broken pipe", "NCCL")


def train_stage(spec: StageSpec, *, export: Callable[[Engine], None] | None = None) -> StageResult:
    """Train one stage, on every rank of the job; it takes up at the newest valid checkpoint.

    ``export`` is called on every rank with the trained engine before it goes (for ``consolidated_state``); not when the
    stage was done already: ``read_full_state`` of its commit serves both cases. The process group stays for the next
    stage: call ``leave()`` after the last.

    Raises ``TrainingError`` (nothing to train, patterns, ranks, divergence, a peer that died), ``CheckpointError``
    (another stage key, a fenced attempt, nothing whole to resume from), ``Interrupted`` after a signal.
    """
    _check(spec)
    with listening() as stop:
        try:
            return _run(spec, export, stop)
        except RuntimeError as error:
            raise _peer_error(spec, error) from error


def _check(spec: StageSpec) -> None:
    if spec.stage.early_stop and (spec.validation is None or spec.stage.validate_every < 1):
        raise TrainingError(
            f"stage {spec.name} is to stop early but is never validated",
            hint="set validate_every of the stage, and give the dataset a validation split",
        )


def _run(spec: StageSpec, export: Callable[[Engine], None] | None, stop: StopFlag) -> StageResult:
    """The stage, under the signals' flag from the first moment."""
    started = time.perf_counter()
    ranks = join(spec.engine)
    done = _done_already(spec, ranks)
    if done is not None:
        return _without_work(spec, ranks, done)
    attempt = spec.attempt if spec.attempt is not None else attempt_of(ranks, spec.store, spec.run_prefix)
    bind(rank=ranks.rank, attempt=attempt, stage=spec.name)
    _deterministic(spec, ranks)
    torch.manual_seed(spec.seed)
    engine = build_engine(
        spec.model,
        spec.stage,
        spec.engine,
        ranks,
        initial_state=spec.initial_state,
        partition_at_build=spec.partition_at_build,
        before=spec.before,
    )
    try:
        result = _train(spec, engine, ranks, attempt, started, stop)
        if export is not None:
            export(engine)
        for callback in spec.callbacks:
            callback.on_end(result)
        return result
    finally:
        engine.destroy()
        bind(step=None)


def _train(spec: StageSpec, engine: Engine, ranks: Ranks, attempt: int, started: float, stop: StopFlag) -> StageResult:
    """Restore, run the loop, and sum up."""
    locals_ = engine.fragments()
    tally = Tally(guard=Guard(spec.name, spike=spec.stage.spike))
    start = _resume(spec, engine, ranks, tally)
    tally.lives = reborn(tally.lives, attempt, start)
    target = Target(
        store=spec.store,
        run_prefix=spec.run_prefix,
        prefix=spec.prefix,
        stage_key=spec.stage_key,
        attempt=attempt,
        rank=ranks.rank,
        world=ranks.world,
        keep=spec.engine.keep_checkpoints,
        extra=spec.extra,
    )
    for callback in spec.callbacks:
        callback.on_start(spec, start_step=start, attempt=attempt, trainable=engine.trainable.summary())
    with closing(Saver(target, Snapshot(locals_))) as saver:
        loop = Loop(spec, engine, ranks, saver, tally, stop=stop)
        with watching(ranks.placement, loop.progress, seconds=spec.engine.watchdog_seconds):
            commit = loop.run(start)
        return _result(spec, engine, ranks, tally, commit, start, time.perf_counter() - started, saver.stall_seconds)


def _resume(spec: StageSpec, engine: Engine, ranks: Ranks, tally: Tally) -> int:
    """Set engine and tally from the newest valid commit; the step to go on with."""
    found = restore(engine.fragments(), spec.store, spec.prefix, spec.stage_key, ranks)
    if found is None:
        return 0
    key, commit = found
    engine.set_updates(int(commit.state.get("updates", commit.step)))
    engine.refresh()
    tally.load(commit.state, commit.attempt)
    tally.committed = CommitInfo(step=commit.step, attempt=commit.attempt, key=key)
    if commit.step > spec.total_steps:
        raise CheckpointError(f"{key} is at step {commit.step}, the stage has {spec.total_steps} steps")
    logger.info("%s: resumed at step %d (saved by %d ranks)", spec.name, commit.step, commit.world)
    return commit.step


def _done_already(spec: StageSpec, ranks: Ranks) -> Commit | None:
    """The final commit of a stage that is done. Rank 0 looks; a collective."""

    def look() -> list[int] | None:
        found = finished(spec.store, spec.prefix, spec.stage_key)
        return [found[1].step, found[1].attempt, found[1].world] if found else None

    place = ranks.decided_by_first(look)
    if place is None:
        return None
    step, attempt, world = place
    return Commit(stage_key=spec.stage_key, step=step, attempt=attempt, world=world, final=True, receipts=())


def _without_work(spec: StageSpec, ranks: Ranks, commit: Commit) -> StageResult:
    logger.info("%s: done already (%d steps), skipped", spec.name, commit.step)
    key = commit_key(spec.prefix, commit.step, commit.attempt)
    return StageResult(
        name=spec.name,
        ranks=ranks.world,
        zero_stage=spec.engine.zero_stage,
        steps=commit.step,
        start_step=commit.step,
        first_loss=None,
        last_loss=None,
        trainable_params=0,
        total_params=0,
        skipped_steps=0,
        best_validation=None,
        best_step=None,
        commit=CommitInfo(step=commit.step, attempt=commit.attempt, key=key),
        seconds=0.0,
        save_stall_seconds=0.0,
    )


def _result(
    spec: StageSpec,
    engine: Engine,
    ranks: Ranks,
    tally: Tally,
    commit: CommitInfo,
    start: int,
    seconds: float,
    stall: float,
) -> StageResult:
    return StageResult(
        name=spec.name,
        ranks=ranks.world,
        zero_stage=spec.engine.zero_stage,
        steps=commit.step,
        start_step=start,
        first_loss=tally.first_loss,
        last_loss=tally.last_loss,
        trainable_params=engine.trainable.trainable,
        total_params=engine.trainable.total,
        skipped_steps=tally.guard.skipped,
        best_validation=tally.best_validation,
        best_step=tally.best_step,
        commit=commit,
        seconds=seconds,
        save_stall_seconds=stall,
    )


def _deterministic(spec: StageSpec, ranks: Ranks) -> None:
    """Deterministic kernels on a GPU. On a CPU a fixed number of threads is enough."""
    if spec.engine.deterministic and ranks.device.type == "cuda":
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False


def _peer_error(spec: StageSpec, error: RuntimeError) -> Exception:
    """A collective that broke means a rank that died; anything else is itself."""
    text = str(error)
    if any(sign in text for sign in _PEER_GONE):
        return TrainingError(
            f"stage {spec.name}: another rank went away ({text.splitlines()[0][:160]})",
            hint="look at the first rank that failed; run the same command to go on from the last checkpoint",
        )
    return error
