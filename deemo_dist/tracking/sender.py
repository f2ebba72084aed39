"""The background threads that bring the spool to MLflow while training goes on: one for facts, one for files."""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from deemo_dist.console import logger
from deemo_dist.tracking.carriage import Carriage
from deemo_dist.tracking.delivery import Delivery
from deemo_dist.tracking.drain import Drain, Outcome
from deemo_dist.tracking.segment import STREAMS
from deemo_dist.tracking.spool import pending

_IDLE_SECONDS = 1.0
_FIRST_DELAY = 1.0
_LONGEST_DELAY = 60.0
_STILL_SECONDS = 120.0
"""After so long without a byte nobody waits for an upload any more."""
_LOOK_SECONDS = 2.0
_MOVED_BYTES = 2**20
_FAILURES = 4
_FIRST_LOOK_SECONDS = 5.0
"""So long the first round waits for what other nodes left on the run's storage: it goes first."""


class StreamSender:
    """A daemon thread: rounds of ``Drain`` over one stream, a pause of 1 s between them, 1 to 60 s (doubling) while
    MLflow is away. ``carriage`` is told what each round found."""

    def __init__(self, spool: Path, stream: str, delivery: Delivery, carriage: Carriage | None = None) -> None:
        self.spool = spool
        self.stream = stream
        self.failures = 0
        self._carriage = carriage
        self._drain = Drain(spool, delivery, (stream,))
        self._shown = delivery.where.shown
        self._wake = threading.Condition()
        self._asked = 0
        self._done = 0
        self._stop = False
        self._thread = threading.Thread(target=self._loop, name=f"deemo-tracking-{stream}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ask(self) -> int:
        """Ask for a round over all that is in the spool now; a number to ``wait`` for."""
        with self._wake:
            self._asked += 1
            self._wake.notify_all()
            return self._asked

    def wait(self, asked: int, deadline: float) -> bool:
        """Wait for a round that was asked for, or until MLflow turned out to be away: True when all was sent."""
        with self._wake:
            while self._done < asked and self._thread.is_alive():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._wake.wait(left)
            return self.failures == 0 and self._done >= asked

    def end(self, deadline: float) -> None:
        """End the thread, unless it is in the midst of a request."""
        with self._wake:
            self._stop = True
            self._wake.notify_all()
        self._thread.join(max(0.0, min(5.0, deadline - time.monotonic())))

    def _loop(self) -> None:
        if self._carriage is not None:
            self._carriage.ready.wait(_FIRST_LOOK_SECONDS)
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
        elif self.failures and not outcome.locked:
            logger.info("tracking: MLflow at %s is back, %d %s sent", self._shown, outcome.sent, self.stream)
            self.failures = 0
        if self._carriage is not None and not outcome.locked:
            self._carriage.told(self.stream, away=bool(outcome.error))
        return outcome

    def _failed(self, reason: str) -> None:
        self.failures += 1
        if self.failures == 1:
            logger.warning(
                "tracking: MLflow at %s does not take %s (%s); they wait in %s, the run goes on",
                self._shown,
                self.stream,
                reason,
                self.spool,
            )

    def _pause(self) -> float:
        if not self.failures:
            return _IDLE_SECONDS
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(self.failures - 1, 10))
        return delay * random.uniform(0.5, 1.0)


class Sender:
    """Both streams of a spool, each by its own thread: no upload holds back a metric or a status."""

    def __init__(self, spool: Path, deliveries: Callable[[], Delivery], carriage: Carriage | None = None) -> None:
        self.spool = spool
        self._streams = {stream: StreamSender(spool, stream, deliveries(), carriage) for stream in STREAMS}

    def start(self) -> None:
        """Start the threads."""
        for sender in self._streams.values():
            sender.start()

    def flush(self, timeout: float, streams: tuple[str, ...] = STREAMS) -> bool:
        """Wait until all that is in the spool now was sent, or until MLflow turned out to be away: True when sent."""
        deadline = time.monotonic() + timeout
        asked = [(self._streams[stream], self._streams[stream].ask()) for stream in streams]
        return all(sender.wait(number, deadline) for sender, number in asked)

    def stop(self, timeout: float, *, uploads: Callable[[], bool] | None = None) -> int:
        """Send what can be sent within ``timeout`` seconds, end the threads and return how many records wait.

        ``uploads``: files are waited for longer, as long as their bytes move and it says True.
        """
        deadline = time.monotonic() + timeout
        if not self.flush(timeout) and uploads is not None:
            self._await_files(uploads)
        for sender in self._streams.values():
            sender.end(deadline)
        return pending(self.spool)

    def _await_files(self, go_on: Callable[[], bool]) -> None:
        """Wait for the files: until they are sent, nothing moves, MLflow is away or ``go_on`` says no."""
        files = self._streams["files"]
        if not files.failures:
            logger.info("tracking: files are still being sent to MLflow; waiting for them")
        moved, since = _bytes_moved(), time.monotonic()
        asked = files.ask()
        while go_on() and files.failures < _FAILURES and time.monotonic() - since < _STILL_SECONDS:
            if files.wait(asked, time.monotonic() + _LOOK_SECONDS):
                return
            if files.failures:
                time.sleep(_LOOK_SECONDS)
            if (now := _bytes_moved()) - moved > _MOVED_BYTES:
                moved, since = now, time.monotonic()


def _bytes_moved() -> int:
    """What this process has read and written so far; 0 where the kernel does not count it."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()[:2]
        return sum(int(line.split()[1]) for line in lines)
    except (OSError, IndexError, ValueError):
        return 0
