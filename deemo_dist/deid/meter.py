"""What each stage of a clip costs, and what happens when one fails."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ParamSpec, TypeVar

from deemo_dist.errors import DeemoError, DeidError

STAGES = ("decode", "faces", "body", "captions", "voice", "words", "audit", "encode")
P = ParamSpec("P")
R = TypeVar("R")


class Meter:
    """Seconds on the clock, processor seconds of this process, and bytes, by stage; counts over any number of clips."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._cpu: dict[str, float] = defaultdict(float)
        self._bytes: dict[str, float] = defaultdict(float)

    def run(self, stage: str, function: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
        """Run a step of ``stage``. An unforeseen fault becomes a ``DeidError`` that does not quote what the step choked
        on; a lack of memory is left as it is, and what the product says of its machine (a child or a weight that cannot
        be had), for neither is a fault of the clip."""
        clock, cpu = time.perf_counter(), time.process_time()
        try:
            return function(*arguments, **keywords)
        except (DeemoError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the clip does not pass
            raise DeidError(f"the stage failed with {type(error).__name__}", stage=stage, reason="failed") from None
        finally:
            self._seconds[stage] += time.perf_counter() - clock
            self._cpu[stage] += time.process_time() - cpu

    def each(self, stage: str, items: Iterable[R]) -> Iterator[R]:
        """``items``, the making of each counted to ``stage``."""
        source, end = iter(items), object()
        while (item := self.run(stage, next, source, end)) is not end:
            yield item  # type: ignore[misc]

    def count(self, stage: str, *, cpu_seconds: float = 0.0, bytes: int = 0) -> None:  # noqa: A002 - the unit's name
        """Add what another process spent, or bytes that a stage made."""
        self._cpu[stage] += cpu_seconds
        self._bytes[stage] += bytes

    def figures(self) -> Mapping[str, float]:
        """``seconds.STAGE``, ``cpu_seconds.STAGE`` and ``bytes.STAGE`` for every one of ``STAGES``."""
        kinds = {"seconds": self._seconds, "cpu_seconds": self._cpu, "bytes": self._bytes}
        return {f"{kind}.{stage}": float(values[stage]) for kind, values in kinds.items() for stage in STAGES}
