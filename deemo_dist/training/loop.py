"""The training loop: step after step, with what may happen between two of them."""

import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from deemo_dist.console import bind
from deemo_dist.errors import Interrupted, TrainingError
from deemo_dist.training.checkpoint.saver import FLAGS, Saver
from deemo_dist.training.engine import Engine
from deemo_dist.training.metrics import (
    PartNorms,
    Waiting,
    device_bytes,
    measured_peak,
    peak_rss_bytes,
    rss_bytes,
    seed_micro_step,
    tokens_of,
    working_dtype,
)
from deemo_dist.training.profiler import profiled
from deemo_dist.training.ranks import Ranks
from deemo_dist.training.saves import Saves
from deemo_dist.training.schedule import factor
from deemo_dist.training.signals import StopFlag
from deemo_dist.training.spec import CommitInfo, StageSpec, StepBatches, StepReport
from deemo_dist.training.tally import Tally
from deemo_dist.training.turns import Turns

NORMS_EVERY = 10
"""Steps from one look at the parts' gradients to the next."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What the ranks told each other in one step, summed."""

    loss: float
    stop: bool
    tokens: float
    samples: float
    wait: float
    flops: float
    saves: Sequence[float]


class Loop:
    """One stage's steps on one rank."""

    def __init__(
        self, spec: StageSpec, engine: Engine, ranks: Ranks, saver: Saver, tally: Tally, *, stop: StopFlag
    ) -> None:
        self.spec = spec
        self.engine = engine
        self.ranks = ranks
        self.saver = saver
        self.tally = tally
        self.saves = Saves(spec, engine, ranks, saver, tally)
        self.turns = Turns(spec, engine, ranks, self.saves, tally)
        self.stop = stop
        self.progress = ranks.progress
        self.part_norms = PartNorms(engine)
        self.peak = 0.0

    def run(self, start_step: int) -> CommitInfo:
        """Train from ``start_step`` to the end of the stage; returns the last commit.

        Raises ``Interrupted`` after a stop was asked for and its checkpoint committed (asked for in the last step, the
        stage ends as any other, and what comes after it hears of it), ``TrainingError`` when the data end early or too
        many updates were left out, ``CheckpointError`` when this attempt is fenced.
        """
        self.engine.train_mode()
        self.peak = self.ranks.sums([measured_peak(self.ranks.device, working_dtype(self.spec.engine.precision))])[0]
        data, total = Waiting(iter(self.spec.batches(start_step, self.ranks.placement))), self.spec.total_steps
        for step in range(start_step, total):
            done = step + 1
            heard = self._one_step(step, data)
            if self.tally.guard.has_gone_bad:
                self.turns.go_back(step)
            if self.turns.enough(done):
                self.turns.to_the_best(done)
                return self.saves.now(done, final=True)
            if done < total and heard.stop:
                self._leave_checkpoint(done)
            if done < total and self.saves.due(done):
                self.saves.begin(done)
        return self.saves.now(total, final=True)

    def _next(self, data: Waiting, step: int) -> StepBatches:
        """The step's micro-batches, checked."""
        batches = next(data, None)
        if batches is None:
            raise TrainingError(
                f"the data of stage {self.spec.name} end before step {step} of {self.spec.total_steps}",
                hint="the plan and the loader disagree",
            )
        if len(batches.batches) != self.engine.micro or batches.targets < 1:
            raise TrainingError(
                f"step {step} brings {len(batches.batches)} micro-batches and {batches.targets} targets;"
                f" {self.engine.micro} and at least 1 are needed on every rank",
                hint="pad the step with null packs",
            )
        return batches

    def _one_step(self, step: int, data: Waiting) -> Heard:
        """Data, forward and backward, word from all ranks, update, validation, report."""
        self.progress.at(step, 0, "data")
        batches = self._next(data, step)
        with self._profiled(step):
            started = time.perf_counter()
            share = factor(step, self.spec.total_steps, kind=self.spec.stage.schedule, warmup=self.spec.stage.warmup)
            heard = self._accumulate(step, batches, data.seconds)
            part_norms = self._part_norms(step)
            self.progress.at(step, self.engine.micro + 1, "update")
            norm, applied = self.engine.step(share)
            seconds = time.perf_counter() - started + data.seconds
        self.tally.count(step, heard.loss, applied=applied)
        self.saver.fed.note(step, batches.keys)
        self.saves.advance(heard.saves)
        validation, validation_seconds = self._validate(step)
        self._tell(
            StepReport(
                step=step,
                total_steps=self.spec.total_steps,
                loss=heard.loss,
                lr=self.engine.lr(),
                grad_norm=norm,
                targets=batches.targets,
                tokens_per_second=heard.tokens / seconds,
                samples_per_second=heard.samples / seconds,
                data_wait_seconds=heard.wait / self.ranks.world,
                step_seconds=seconds,
                rss_bytes=rss_bytes(),
                device_bytes=device_bytes(self.ranks.device),
                skipped=not applied,
                skipped_total=self.tally.guard.skipped,
                validation_loss=validation,
                validation_seconds=validation_seconds,
                mfu=heard.flops / (seconds * self.peak) if heard.flops else None,
                padding=self._padding(heard.tokens),
                peak_rss_bytes=peak_rss_bytes(),
                part_norms=part_norms,
            )
        )
        return heard

    def _tell(self, report: StepReport) -> None:
        bind(step=report.step)
        for callback in self.spec.callbacks:
            callback.on_step(report)

    def _accumulate(self, step: int, batches: StepBatches, wait: float) -> Heard:
        """All micro-steps. The ranks' words are exchanged before the last backward: a loss that the guard forbids then
        makes every gradient NaN, and the optimizer leaves the update out by its own rule, on every rank."""
        total = torch.zeros((), dtype=torch.float64, device=self.ranks.device)
        heard: Heard | None = None
        for number, batch in enumerate(batches.batches):
            self.progress.at(step, number + 1, f"micro-step {number}")
            seed_micro_step(self.spec.seed, step, self._pack(batches, number))
            loss = self.engine.loss(batch, targets=batches.targets)
            total += loss.detach()
            last = number + 1 == self.engine.micro
            if last:
                heard = self._exchange(float(total), batches, wait)
                loss = loss if self.tally.guard.allows(heard.loss) else loss * math.nan
            self.engine.backward(loss, last=last)
        assert heard is not None
        return heard

    def _pack(self, batches: StepBatches, number: int) -> int:
        return batches.packs[number] if batches.packs else number * self.ranks.world + self.ranks.rank

    def _exchange(self, total: float, batches: StepBatches, wait: float) -> Heard:
        """One all-reduce a step: loss, stop flag, throughput, and how the save in flight stands."""
        own = [total, float(bool(self.stop)), tokens_of(batches), batches.samples, wait, batches.flops]
        loss, stop, tokens, samples, waited, flops, *saves = self.ranks.sums([*own, *self.saves.flags()])
        assert len(saves) == FLAGS
        mean = loss / (self.ranks.world * self.engine.micro)
        return Heard(loss=mean, stop=stop > 0, tokens=tokens, samples=samples, wait=waited, flops=flops, saves=saves)

    def _part_norms(self, step: int) -> dict[str, float]:
        """Norms of the gradients by part, where it is their turn. A collective."""
        if step % NORMS_EVERY:
            return {}
        return self.part_norms.norms(self.ranks.sums(self.part_norms.squares()))

    def _padding(self, tokens: float) -> float:
        """Share of the step's token budget that is empty, null packs included."""
        return max(0.0, 1.0 - tokens / (self.ranks.world * self.engine.micro * self.spec.stage.max_tokens))

    def _validate(self, step: int) -> tuple[float | None, float]:
        """Mean loss per target token over the validation batches, when it is due, and the seconds it took. A
        collective."""
        every = self.spec.stage.validate_every
        if self.spec.validation is None or every < 1 or (step + 1) % every:
            return None, 0.0
        started = time.perf_counter()
        self.engine.module.eval()
        loss_sum, targets = 0.0, 0
        with torch.no_grad():
            for number, batches in enumerate(self.spec.validation(self.ranks.placement)):
                self.progress.at(step, self.engine.micro + 2 + number, f"validation {number}")
                share = sum(float(self.engine.loss(batch, targets=batches.targets)) for batch in batches.batches)
                loss_sum += share * batches.targets / (self.ranks.world * self.engine.micro)
                targets += batches.targets
        self.engine.train_mode()
        if not targets:
            raise TrainingError(
                f"the validation of stage {self.spec.name} brings no targets", hint="its data are empty"
            )
        loss = self.ranks.sums([loss_sum])[0] / targets
        self.tally.validated(step + 1, loss)
        return loss, time.perf_counter() - started

    def _profiled(self, step: int) -> AbstractContextManager[None]:
        engine = self.spec.engine
        return profiled(
            step, steps=engine.profile, folder=engine.profile_folder, stage=self.spec.name, rank=self.ranks.rank
        )

    def _leave_checkpoint(self, done: int) -> None:
        """On request: save, and end this life of the stage. Raises ``Interrupted``."""
        self.saves.now(done, final=False)
        raise Interrupted(
            f"stage {self.spec.name} was interrupted ({self.stop.reason or 'a signal at another rank'}):"
            f" the checkpoint at step {done} of {self.spec.total_steps} is committed",
            hint="run the same command to go on",
        )
