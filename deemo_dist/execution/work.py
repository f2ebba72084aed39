"""What a worker process does with one unit, under every executor."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deemo_dist.errors import DeemoError


@dataclass(frozen=True)
class Outcome:
    """A unit's result, or the error that ends the run."""

    result: Any = None
    error: DeemoError | None = None


class Worker:
    """Builds the function when asked to prepare, so that its errors travel like a unit's."""

    def __init__(self, factory: Callable[[], Callable[[Any], Any]]) -> None:
        self.factory = factory
        self.function: Callable[[Any], Any] | None = None

    def prepare(self) -> Outcome:
        """Build the function: the outcome is empty, or the error of that."""
        return self._tried(self._build)

    def attempt(self, unit: Any) -> Outcome:
        """Run one unit; every exception becomes an error that can be sent and shown."""
        assert self.function is not None
        return self._tried(self.function, unit)

    def _build(self) -> None:
        self.function = self.factory()

    def _tried(self, function: Callable[..., Any], *arguments: Any) -> Outcome:
        try:
            return Outcome(result=function(*arguments))
        except DeemoError as error:
            return Outcome(error=error)
        except Exception as error:  # noqa: BLE001 - a fault of the code: reported by place, not by its text
            return Outcome(error=placed(error))


def placed(error: Exception) -> DeemoError:
    """An unexpected exception by type and place. Its own text may quote raw data, so it is left out."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames[-4:]))
    return DeemoError(f"this failed: {type(error).__name__} in {places}", hint="this is a fault of the program")
