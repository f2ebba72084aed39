"""One stage on one rank, from its specification to its last commit."""

import os
import time
from collections.abc import Callable
from contextlib import closing

import torch
from torch import nn

from deemo_dist.config import EngineConfig
from deemo_dist.console import bind, logger
from deemo_dist.errors import CheckpointError, TrainingError
from deemo_dist.training.checkpoint.layout import Commit
from deemo_dist.training.checkpoint.restore import finished_whole, restore
from deemo_dist.training.checkpoint.saver import Saver, Target
from deemo_dist.training.checkpoint.snapshot import Snapshot
from deemo_dist.training.consumption import reborn
from deemo_dist.training.engine import Engine, build_engine
from deemo_dist.training.guard import Guard
from deemo_dist.training.loop import Loop
from deemo_dist.training.ranks import Ranks, attempt_of, join
from deemo_dist.training.signals import StopFlag, listening
from deemo_dist.training.spec import CommitInfo, StageResult, StageSpec
from deemo_dist.training.state import load_trained
from deemo_dist.training.tally import Tally
from deemo_dist.training.watchdog import watching

_PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "Timed out waiting", "Broken pipe", "NCCL")


def train_stage(spec: StageSpec) -> StageResult:
    """Train one stage, on every rank of the job; it takes up at the newest valid checkpoint.

    The process group stays for the next stage: call ``leave()`` after the last.

    Raises ``TrainingError`` (nothing to train, patterns, ranks, divergence, a peer that died), ``CheckpointError``
    (another stage key, a fenced attempt, nothing whole to resume from), ``Interrupted`` after a signal.
    """
    _check(spec)
    with listening() as stop:
        try:
            return _run(spec, stop)
        except RuntimeError as error:
            raise _peer_error(spec, error) from error


def _check(spec: StageSpec) -> None:
    if spec.stage.early_stop and (spec.validation is None or spec.stage.validate_every < 1):
        raise TrainingError(
            f"stage {spec.name} is to stop early but is never validated",
            hint="set validate_every of the stage, and give the dataset a validation split",
        )


def _run(spec: StageSpec, stop: StopFlag) -> StageResult:
    """The stage, under the signals' flag from the first moment."""
    ranks = join(spec.engine)
    with watching(ranks.placement, ranks.progress, seconds=spec.engine.watchdog_seconds):
        return _whole(spec, stop, ranks)


def _whole(spec: StageSpec, stop: StopFlag, ranks: Ranks) -> StageResult:
    """From the look whether it is done already to the last listener's last word."""
    started = time.perf_counter()
    ranks.progress.during(f"stage {spec.name}: building the model")
    done = finished_whole(spec.store, spec.prefix, spec.stage_key, ranks)
    if done is not None:
        return _without_work(spec, ranks, *done)
    attempt = spec.attempt if spec.attempt is not None else attempt_of(ranks, spec.store, spec.run_prefix)
    bind(rank=ranks.rank, attempt=attempt, stage=spec.name)
    _deterministic(spec.engine, ranks.device)
    torch.manual_seed(spec.seed)
    engine = build_engine(
        _told(spec.model, ranks),
        spec.stage,
        spec.engine,
        ranks,
        load=lambda model: load_trained(
            model, spec.store, spec.parents, rank=ranks.rank, world=ranks.world, tick=ranks.progress.tick
        ),
        before=spec.before,
    )
    try:
        result = _train(spec, engine, ranks, attempt, started, stop)
        ranks.progress.during(f"stage {spec.name}: its end")
        for callback in spec.callbacks:
            callback.on_end(result)
        return result
    finally:
        engine.destroy()
        bind(step=None)


def _told(source: nn.Module | Callable[[], nn.Module], ranks: Ranks) -> nn.Module | Callable[[], nn.Module]:
    """``source``, but the watchdog hears when the model stands: a rank still at it is behind the others."""
    if isinstance(source, nn.Module):
        return source

    def build() -> nn.Module:
        model = source()
        ranks.progress.on()
        return model

    return build


def _train(spec: StageSpec, engine: Engine, ranks: Ranks, attempt: int, started: float, stop: StopFlag) -> StageResult:
    """Restore, run the loop, and sum up."""
    ranks.progress.during(f"stage {spec.name}: restoring")
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
        before_commit=spec.before_commit,
    )
    for callback in spec.callbacks:
        callback.on_start(spec, start_step=start, attempt=attempt, trainable=engine.trainable.summary())
    with closing(Saver(target, Snapshot(locals_, make=engine.make_buffer))) as saver:
        loop = Loop(spec, engine, ranks, saver, tally, stop=stop)
        commit = loop.run(start)
        return _result(spec, engine, ranks, tally, commit, start, time.perf_counter() - started, saver.stall_seconds)


def _resume(spec: StageSpec, engine: Engine, ranks: Ranks, tally: Tally) -> int:
    """Set engine and tally from the newest valid commit; the step to go on with."""
    make = engine.make_buffer
    found = restore(engine.fragments(), spec.store, spec.prefix, spec.stage_key, ranks, make=make)
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


def _without_work(spec: StageSpec, ranks: Ranks, key: str, commit: Commit) -> StageResult:
    logger.info("%s: done already (%d steps), skipped", spec.name, commit.step)
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


def _deterministic(config: EngineConfig, device: torch.device) -> None:
    """Deterministic kernels on a GPU. On a CPU a fixed number of threads is enough."""
    if config.deterministic and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product of matrices
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(True, warn_only=config.tolerate_nondeterminism)
        torch.backends.cudnn.benchmark = False
        torch.backends.cuda.enable_mem_efficient_sdp(False)  # its backward pass has no deterministic form


def _peer_error(spec: StageSpec, error: RuntimeError) -> Exception:
    """A collective that broke means a rank that died; anything else is itself."""
    text = str(error)
    if any(sign in text for sign in _PEER_GONE):
        return TrainingError(
            f"stage {spec.name}: another rank went away ({text.splitlines()[0][:160]})",
            hint="look at the first rank that failed; run the same command to go on from the last checkpoint",
        )
    return error
