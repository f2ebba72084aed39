"""A token bucket for requests: each process's static share, halved when the server asks for less, slowly regained."""

import functools
import threading
import time
from collections.abc import Callable

REGAIN_PER_SECOND = 0.02
FLOOR = 1 / 64


class RequestBudget:
    """At most ``full`` requests a second, in bursts of at most one second's worth. Safe for threads.

    ``slow_down`` halves the rate (once a second at most, so that one burst of refusals counts once, and never below
    1/64 of ``full``); it comes back by 2 % of ``full`` a second.
    """

    def __init__(
        self,
        full: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.full = full
        self._clock, self._sleep = clock, sleep
        self._rate, self._tokens = full, max(1.0, full)
        self._updated, self._slowed = clock(), float("-inf")
        self._lock = threading.Lock()

    @property
    def rate(self) -> float:
        """Requests a second allowed now."""
        with self._lock:
            self._advance()
            return self._rate

    def take(self) -> float:
        """Take one request, waiting for its turn; returns the seconds waited."""
        with self._lock:
            self._advance()
            self._tokens -= 1
            wait = max(0.0, -self._tokens / self._rate)
        if wait:
            self._sleep(wait)
        return wait

    def slow_down(self) -> None:
        """The server refused for load: halve the rate and give up what was saved."""
        with self._lock:
            self._advance()
            if self._updated - self._slowed < 1.0:
                return
            self._slowed = self._updated
            self._rate = max(self._rate / 2, self.full * FLOOR)
            self._tokens = min(self._tokens, 0.0)

    def _advance(self) -> None:
        """Add what the time since the last call gives."""
        now = self._clock()
        passed, self._updated = now - self._updated, now
        self._tokens = min(max(1.0, self._rate), self._tokens + passed * self._rate)
        self._rate = min(self.full, self._rate + passed * REGAIN_PER_SECOND * self.full)


@functools.lru_cache(maxsize=64)
def shared_budget(endpoint: str, full: float) -> RequestBudget:
    """The one budget of this process for an endpoint, whatever number of stores is open on it."""
    return RequestBudget(full)
