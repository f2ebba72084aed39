"""The listener that a terminal needs."""

import time

from deemo_dist.console import logger
from deemo_dist.training.spec import CommitInfo, StageResult, StageSpec, StepReport


class ProgressLines:
    """A line in the log at the first and the last step, and at most every ``seconds`` between."""

    def __init__(self, *, seconds: float = 10.0) -> None:
        self.seconds = seconds
        self.last = -float("inf")
        self.name = ""

    def on_start(self, spec: StageSpec, *, start_step: int, attempt: int, trainable: dict[str, int]) -> None:
        """Say what trains and from where."""
        self.name = spec.name
        begin = f"from step {start_step}" if start_step else "from the start"
        logger.info(
            "%s: %s trainable of %s parameters, %d steps %s (attempt %d)",
            spec.name,
            f"{trainable['trainable']:,}",
            f"{trainable['total']:,}",
            spec.total_steps,
            begin,
            attempt,
        )

    def on_step(self, report: StepReport) -> None:
        """Say where the stage stands."""
        ends = report.step + 1 == report.total_steps
        if not ends and time.monotonic() - self.last < self.seconds:
            return
        self.last = time.monotonic()
        logger.info(
            "%s: step %d/%d, loss %.4f, %.0f tokens/s%s%s",
            self.name,
            report.step + 1,
            report.total_steps,
            report.loss,
            report.tokens_per_second,
            "" if report.mfu is None else f", MFU {report.mfu:.1%}",
            ", update skipped" if report.skipped else "",
        )

    def on_checkpoint(self, commit: CommitInfo) -> None:
        """Name the commit, for those who look closely."""
        logger.debug("%s: checkpoint at step %d committed", self.name, commit.step)

    def on_end(self, result: StageResult) -> None:
        """Say how it ended."""
        loss = (
            "nothing left to do"
            if result.last_loss is None
            else f"loss {result.first_loss:.4f} -> {result.last_loss:.4f}"
        )
        logger.info("%s: done, %s, %.1f s", result.name, loss, result.seconds)
