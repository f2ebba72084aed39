"""The background thread that carries what waits for MLflow to the run's storage, while training goes on."""

import functools
import threading
import time
from collections.abc import Callable

from deemo_dist.console import logger
from deemo_dist.tracking.carrier import Carrier
from deemo_dist.tracking.secrets import redact, secret_values
from deemo_dist.tracking.segment import STREAMS

_TURN_SECONDS = 30.0
"""Between two carries, and between two looks at what may be removed."""


class Carriage:
    """A daemon thread. It takes what other nodes left as soon as it starts; carries when MLflow turns out to be away,
    then every 30 s while it is and something new waits; removes what was sent. A store that is away costs a warning."""

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.ready = threading.Event()
        """Set once the facts that other nodes left are here, or cannot be had now: they go before newer ones."""
        self._to_take = list(STREAMS)
        self._away: set[str] = set()
        self._next, self._earliest = time.monotonic() + _TURN_SECONDS, 0.0
        self._wake = threading.Condition()
        self._stop = self._warned = self._carried = False
        self._thread = threading.Thread(target=self._loop, name="deemo-tracking-carry", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def told(self, stream: str, *, away: bool) -> None:
        """A stream's round has ended, by an MLflow that is ``away`` or not."""
        with self._wake:
            if away and not self._away:
                self._next = min(self._next, self._earliest)
                self._wake.notify_all()
            (self._away.add if away else self._away.discard)(stream)

    def finish(self, timeout: float) -> bool:
        """Carry what is left, remove what was sent and end the thread: whether the run's storage has all that waits,
        within ``timeout`` seconds."""
        with self._wake:
            self._stop = True
            self._wake.notify_all()
        self._thread.join(timeout)
        return self._carried

    def _loop(self) -> None:
        self._take()
        while not self._waited():
            self._next = time.monotonic() + _TURN_SECONDS
            self._turn(carry=bool(self._away))
        self._turn(carry=True)
        self._carried = bool(self._try(self.carrier.is_kept))

    def _waited(self) -> bool:
        """Wait for the next turn; True when it is the last one."""
        with self._wake:
            while not self._stop and (left := self._next - time.monotonic()) > 0:
                self._wake.wait(left)
            return self._stop

    def _turn(self, *, carry: bool) -> None:
        """Carry if asked, take what could not be taken before, remove what was sent."""
        if carry:
            self._try(self.carrier.carry)
            self._earliest = time.monotonic() + _TURN_SECONDS
        if self._to_take and not self._stop:
            self._take()
        if self.carrier.has_more:
            self._try(self.carrier.settle)

    def _take(self) -> None:
        for stream in tuple(self._to_take):
            if self._try(functools.partial(self.carrier.take, stream)) is not None:
                self._to_take.remove(stream)
            self.ready.set()

    def _try(self, work: Callable[[], int]) -> int | None:
        """What it gives; None where it does not go well, the first time with a warning."""
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - tracking never ends a run
            if not self._warned:
                logger.warning(
                    "tracking: %s cannot be used (%s); what waits for MLflow is on this machine alone, in %s",
                    self.carrier.depot.shown,
                    redact((str(error).splitlines() or [type(error).__name__])[0][:200], secret_values()),
                    self.carrier.spool,
                )
                self._warned = True
            return None
