"""The background thread that brings the spool to MLflow while training goes on."""

import random
import threading
import time
from pathlib import Path

from deemo_dist.console import logger
from deemo_dist.tracking.delivery import Delivery
from deemo_dist.tracking.drain import Drain, Outcome
from deemo_dist.tracking.spool import pending

_IDLE_SECONDS = 1.0
_FIRST_DELAY = 1.0
_LONGEST_DELAY = 60.0


class Sender:
    """A daemon thread: rounds of ``Drain``, a pause of 1 s between them, 1 to 60 s (doubling) while MLflow is away."""

    def __init__(self, spool: Path, delivery: Delivery) -> None:
        self.spool = spool
        self._drain = Drain(spool, delivery)
        self._shown = delivery.where.shown
        self._wake = threading.Condition()
        self._asked = 0
        self._done = 0
        self._stop = False
        self._failures = 0
        self._thread = threading.Thread(target=self._loop, name="deemo-tracking", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def flush(self, timeout: float) -> bool:
        """Wait until all that is in the spool now was sent, or until MLflow turned out to be away: True when sent."""
        deadline = time.monotonic() + timeout
        with self._wake:
            self._asked += 1
            asked = self._asked
            self._wake.notify_all()
            while self._done < asked and self._thread.is_alive():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._wake.wait(left)
            return self._failures == 0 and self._done >= asked

    def stop(self, timeout: float) -> int:
        """Send what can be sent within ``timeout`` seconds, end the thread and return how many records wait."""
        deadline = time.monotonic() + timeout
        self.flush(timeout)
        with self._wake:
            self._stop = True
            self._wake.notify_all()
        self._thread.join(max(0.0, min(5.0, deadline - time.monotonic())))
        return pending(self.spool)

    def _loop(self) -> None:
        while True:
            with self._wake:
                if self._done >= self._asked and not self._stop:
                    self._wake.wait(self._pause())
                if self._stop:
                    return
                asked = self._asked
            outcome = self._round()
            with self._wake:
                if not outcome.locked:
                    self._done = asked
                self._wake.notify_all()
            if outcome.locked:
                time.sleep(0.05)

    def _round(self) -> Outcome:
        try:
            outcome = self._drain.round()
        except Exception as error:  # noqa: BLE001 - tracking never ends a run
            outcome = Outcome(error=f"{type(error).__name__}: {error}")
        if outcome.error:
            self._failed(outcome.error)
        elif self._failures and not outcome.locked:
            logger.info("tracking: MLflow at %s is back, %d records sent", self._shown, outcome.sent)
            self._failures = 0
        return outcome

    def _failed(self, reason: str) -> None:
        self._failures += 1
        if self._failures == 1:
            logger.warning(
                "tracking: MLflow at %s does not take records (%s); they wait in %s, the run goes on",
                self._shown,
                reason,
                self.spool,
            )

    def _pause(self) -> float:
        if not self._failures:
            return _IDLE_SECONDS
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(self._failures - 1, 10))
        return delay * random.uniform(0.5, 1.0)
