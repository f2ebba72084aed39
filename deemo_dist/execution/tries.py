"""Which units wait, and how often each has been tried."""

from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from deemo_dist.console import logger
from deemo_dist.errors import DeemoError

U = TypeVar("U")
MAX_TRIES = 3


class Tries(Generic[U]):
    """A queue of unit numbers. A unit whose worker died comes back, ``MAX_TRIES`` times in all."""

    def __init__(self, units: Sequence[U]) -> None:
        self.units = units
        self.waiting = deque(range(len(units)))
        self.open = len(units)
        self._count = [0] * len(units)

    def take(self) -> int | None:
        """The next unit's number, or None when none waits."""
        if not self.waiting:
            return None
        number = self.waiting.popleft()
        self._count[number] += 1
        return number

    def done(self, number: int) -> U:
        """A unit came to its end: count it off and return it."""
        self.open -= 1
        return self.units[number]

    def lost(self, number: int, how: str) -> None:
        """A unit's worker died: put the unit back, at the end. Raises ``DeemoError`` after its last try."""
        if self._count[number] >= MAX_TRIES:
            raise DeemoError(
                f"work unit {number} ended its worker {MAX_TRIES} times ({how})",
                hint="it may need more memory than there is: lower execution.workers, or data.shard_bytes",
            )
        logger.warning("a worker died (%s): unit %d goes to another one", how, number)
        self.waiting.append(number)
