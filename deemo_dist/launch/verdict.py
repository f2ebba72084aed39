"""What the end of one rank means for the others: the same rule under every launcher of ours."""

import signal
import time
from dataclasses import dataclass, field

from deemo_dist.errors import Interrupted
from deemo_dist.launch.process import exit_code

INTERRUPTED = Interrupted.exit_code


@dataclass
class Verdict:
    """Ends of ranks, in their order. Codes are ``Popen.returncode``'s: negative for a signal.

    ``grace``: seconds that the others have after a failure; ``stop_grace``: after the first 75, for which every rank
    writes its part of a checkpoint. ``deadline``: when the rest is to be killed, on the monotonic clock, or None.
    """

    ranks: int
    grace: float = 5.0
    stop_grace: float = 60.0
    ends: dict[int, int] = field(default_factory=dict)
    failed: int | None = None
    deadline: float | None = None

    def end(self, rank: int, code: int) -> bool:
        """Note the end of a rank; whether it is the first failure, which is to be reported."""
        self.ends[rank] = code
        if code == 0 or self.failed is not None:
            return False
        if code == INTERRUPTED:
            self.deadline = self.deadline or time.monotonic() + self.stop_grace
            return False
        self.failed, self.deadline = rank, time.monotonic() + self.grace
        return True

    def worth_telling(self, code: int) -> bool:
        """Whether such an end, after another rank's failure, is more than the stop that was asked for."""
        return code not in (0, INTERRUPTED, -signal.SIGTERM)

    @property
    def late(self) -> bool:
        """Whether the ranks that are left have had their time."""
        return self.deadline is not None and time.monotonic() > self.deadline

    @property
    def left(self) -> list[int]:
        """The ranks that still run."""
        return [rank for rank in range(self.ranks) if rank not in self.ends]

    @property
    def done(self) -> bool:
        """Whether every rank has ended."""
        return len(self.ends) == self.ranks

    def code(self) -> int:
        """One exit code for all: the first failure's, else 75 if a rank stopped, else 0."""
        if self.failed is not None:
            return exit_code(self.ends[self.failed])
        return max(exit_code(code) for code in self.ends.values())


def named(ranks: list[int], world: int) -> str:
    """``rank 1 of 2`` or ``ranks 1, 2 of 4``."""
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))} of {world}"
