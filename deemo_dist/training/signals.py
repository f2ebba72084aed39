"""A wish to stop, taken from SIGTERM, SIGUSR1 (a batch system's time limit) or SIGINT, and acted on between steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from deemo_dist.console import logger

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopFlag:
    """Set by a signal; ``reason`` names it. A second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.reason = ""

    def __bool__(self) -> bool:
        return bool(self.reason)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: only remembers."""
        if self.reason and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.reason = self.reason or signal.Signals(number).name
        logger.info("%s: a checkpoint will be written after this step", self.reason)


_listening: list[StopFlag] = []


@contextmanager
def listening() -> Iterator[StopFlag]:
    """Catch the stop signals for a while; the handlers from before come back at the end.

    Within another ``listening`` its flag is shared: a signal between two stages stops the next one at its first step.
    Off the main thread nothing can be caught, and the flag stays unset.
    """
    flag = _listening[-1] if _listening else StopFlag()
    if _listening or threading.current_thread() is not threading.main_thread():
        yield flag
        return
    _listening.append(flag)
    before: dict[int, Any] = {number: signal.signal(number, flag.handle) for number in STOP_SIGNALS}
    try:
        yield flag
    finally:
        _listening.pop()
        for number, handler in before.items():
            signal.signal(number, handler)
