"""Which units wait, how often each has been tried, and when one under way has taken too long."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from deemo_dist.console import logger
from deemo_dist.errors import DeemoError, LaunchError, StalledError

U = TypeVar("U")
MAX_TRIES = 3
MAX_NODE_DEATHS = 20
MAX_BAD_STARTS = 10


class Tries(Generic[U]):
    """A queue of unit numbers. A unit whose worker died or hung comes back, ``MAX_TRIES`` times in all.

    A node's death says nothing about the unit: it is counted apart, up to ``MAX_NODE_DEATHS``. Nor does a want of the
    machine's time, which is counted apart too. A unit may take
    ``seconds``, or twice what the longest so far took, and twice as long at each try after it was hung. So may a
    worker's start, which has a number below 0. Starts that are lost together, those that began before the last counted
    loss of one, count once: what ended them is one thing, such as the node they were on.
    """

    def __init__(
        self, units: Sequence[U], *, seconds: float = float("inf"), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.units = units
        self.waiting = deque(range(len(units)))
        self.open = len(units)
        self._seconds, self._start_seconds, self._clock = seconds, seconds, clock
        self._deaths, self._node_deaths, self._hung, self._stalls = ([0] * len(units) for _ in range(4))
        self._starts = self._bad_starts = self._node_losses = 0
        self.generation = 0
        self._born: dict[int, int] = {}
        self._began: dict[int, float] = {}
        self._due: dict[int, float] = {}

    def take(self) -> int | None:
        """The next unit's number, or None when none waits. Its time begins."""
        if not self.waiting:
            return None
        number = self.waiting.popleft()
        self._begin(number, self._seconds * 2 ** self._hung[number])
        return number

    def start(self, generation: int | None = None) -> int:
        """The number of a worker's start. Its time begins. ``generation``: what it was when the worker was made."""
        self._starts += 1
        self._born[-self._starts] = self.generation if generation is None else generation
        self._begin(-self._starts, self._start_seconds * 2**self._bad_starts)
        return -self._starts

    def started(self, number: int) -> None:
        """A worker is ready."""
        self._start_seconds = max(self._start_seconds, 2 * self._end(number))
        del self._born[number]
        self._bad_starts = self._node_losses = 0

    def done(self, number: int) -> U:
        """A unit came to its end: count it off and return it."""
        self.open -= 1
        self._seconds = max(self._seconds, 2 * self._end(number))
        return self.units[number]

    def overdue(self) -> list[int]:
        """The units and starts under way whose time is up."""
        now = self._clock()
        return [number for number, due in self._due.items() if due <= now]

    def patience(self, most: float) -> float:
        """Seconds until something may be overdue, ``most`` at most."""
        return max(0.0, min([most, *(due - self._clock() for due in self._due.values())]))

    def lost(self, number: int, how: str, *, node: bool = False) -> None:
        """The worker of a unit or a start died (``node``: its node did): put the unit back. Raises ``DeemoError`` after
        the last try, ``LaunchError`` where no worker starts."""
        if number < 0:
            self._bad_start(number, f"died at the start ({how})", node=node)
            return
        counts, most = (self._node_deaths, MAX_NODE_DEATHS) if node else (self._deaths, MAX_TRIES)
        counts[number] += 1
        if counts[number] >= most:
            raise DeemoError(
                f"work unit {number} ended its worker {most} times ({how})",
                hint="it may need more memory than there is: lower execution.workers, or data.shard_bytes",
            )
        self._again(number, f"a worker died ({how})")

    def hung(self, number: int) -> None:
        """A unit or a start took longer than it may: put the unit back, with more time. Raises as ``lost``."""
        if number < 0:
            self._bad_start(number, "did not come up in time")
            return
        self._hung[number] += 1
        if self._hung[number] >= MAX_TRIES:
            longest = self._due[number] - self._began[number]
            raise DeemoError(
                f"work unit {number} did not end within {longest:g} s, nor in {MAX_TRIES - 1} tries before",
                hint="raise execution.unit_seconds, or lower data.shard_bytes",
            )
        self._again(number, "a worker hangs")

    def stalled(self, number: int, error: StalledError) -> None:
        """A unit got no further for want of the machine's time: put it back. Raises ``error`` after the last try."""
        self._stalls[number] += 1
        if self._stalls[number] >= MAX_TRIES:
            raise error
        self._again(number, error.message)

    def _begin(self, number: int, seconds: float) -> None:
        self._began[number] = self._clock()
        self._due[number] = self._clock() + seconds

    def _end(self, number: int) -> float:
        """The seconds that it took."""
        del self._due[number]
        return self._clock() - self._began.pop(number)

    def _again(self, number: int, what: str) -> None:
        """At the end of the queue."""
        self._end(number)
        logger.warning("%s: unit %d goes to another one", what, number)
        self.waiting.append(number)

    def _bad_start(self, number: int, what: str, *, node: bool = False) -> None:
        """A worker that never worked: another one will be started, unless that was tried often enough."""
        self._end(number)
        if self._born.pop(number) == self.generation:
            self.generation += 1
            self._node_losses += node
            self._bad_starts += not node
        if self._bad_starts >= MAX_BAD_STARTS or self._node_losses >= MAX_NODE_DEATHS:
            times = self._node_losses if node else self._bad_starts
            raise LaunchError(
                f"{times} times in a row a worker {what}",
                hint="its nodes die, or it needs more memory than there is: lower execution.workers",
            )
        logger.warning("a worker %s: another one is started", what)
