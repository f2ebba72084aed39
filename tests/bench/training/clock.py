"""A listener that knows when each step was done."""

import time

from deemo_dist.training import ProgressLines, StepReport


class Clock(ProgressLines):
    """``times``: the moment each step was done, by a clock that only goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_step(self, report: StepReport) -> None:
        """Note the moment."""
        super().on_step(report)
        self.times.append(time.perf_counter())

    def rate(self, warm: int = 0) -> float:
        """Steps a second, the first one and ``warm`` more left out."""
        return (len(self.times) - 1 - warm) / (self.times[-1] - self.times[warm])
