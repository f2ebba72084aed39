"""Factories that workers of other processes can import."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deemo_dist.errors import DatasetError, StalledError


@dataclass(frozen=True)
class Squares:
    """Squares, with the process that did it; logs each try into ``folder`` and can be told to misbehave."""

    folder: str
    kill: int = -1
    kill_times: int = 1
    stop: int = -1
    refuse: int = -1
    crash: int = -1
    stall: int = -1
    stall_times: int = 1
    sleep: float = 0.0

    def __call__(self) -> Callable[[int], tuple[int, int]]:
        (Path(self.folder) / f"built-{os.getpid()}").touch()
        return self._work

    def _work(self, unit: int) -> tuple[int, int]:
        tries = len(list(Path(self.folder).glob(f"try-{unit}-*")))
        (Path(self.folder) / f"try-{unit}-{tries}-{os.getpid()}").touch()
        if unit == self.kill and tries < self.kill_times:
            os.kill(os.getpid(), signal.SIGKILL)
        if unit == self.stop and tries == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        if unit == self.refuse:
            raise DatasetError("this unit is refused", hint="as told")
        if unit == self.stall and tries < self.stall_times:
            raise StalledError("the machine stood still")
        if unit == self.crash:
            raise RuntimeError("a secret path /raw/jane-doe.mp4")
        time.sleep(self.sleep)
        return unit * unit, os.getpid()


@dataclass(frozen=True)
class BadFactory:
    """A factory that cannot load what it needs."""

    def __call__(self) -> Callable[[int], int]:
        raise DatasetError("the model is not there")


@dataclass(frozen=True)
class Closures:
    """Results that no pickle holds."""

    def __call__(self) -> Callable[[int], object]:
        return lambda unit: lambda: unit
