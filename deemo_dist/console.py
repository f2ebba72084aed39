"""What a person sees: rich on a terminal, plain lines elsewhere, and JSON lines for machines.

``logger`` is the one logger of the project. ``DEEMO_LOG=json`` turns its lines into JSON with run, attempt, rank, step.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

logger = logging.getLogger("deemo_dist")
console = Console(stderr=True, highlight=False)
_context: dict[str, Any] = {}


def bind(**fields: Any) -> None:
    """Add fields (run, attempt, rank, step) to every JSON log line of this process; ``None`` removes one."""
    for name, value in fields.items():
        if value is None:
            _context.pop(name, None)
        else:
            _context[name] = value


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: time (Unix seconds), level, message and the bound context."""

    def format(self, record: logging.LogRecord) -> str:
        row = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        return json.dumps({**_context, **row}, default=str)


def setup_logging(*, verbose: bool = False) -> None:
    """Send the project's log to standard error: plain lines, or JSON when ``DEEMO_LOG=json``. Call once a process."""
    handler = logging.StreamHandler(sys.stderr)
    json_lines = os.environ.get("DEEMO_LOG") == "json"
    handler.setFormatter(_JsonFormatter() if json_lines else logging.Formatter("%(message)s"))
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


class _PlainProgress:
    """Progress without a terminal: a line at most every ten seconds, and one at the end."""

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done, self.started, self.last = 0, time.monotonic(), time.monotonic()

    def advance(self, count: int = 1) -> None:
        self.done += count
        if time.monotonic() - self.last >= 10:
            self.last = time.monotonic()
            self._line()

    def _line(self) -> None:
        seconds = max(time.monotonic() - self.started, 1e-6)
        of = f"/{self.total}" if self.total is not None else ""
        logger.info("%s: %d%s %s, %.1f/s", self.title, self.done, of, self.unit, self.done / seconds)


class _RichProgress:
    """Progress on a terminal: a bar with counts, elapsed and remaining time."""

    def __init__(self, progress: Progress, title: str, total: int | None) -> None:
        self.progress = progress
        self.task = progress.add_task(title, total=total)

    def advance(self, count: int = 1) -> None:
        self.progress.advance(self.task, count)


@contextmanager
def progress(title: str, total: int | None, *, unit: str = "items") -> Iterator[_PlainProgress | _RichProgress]:
    """Show progress of ``total`` units (``None`` when unknown); the yielded object has ``advance(count=1)``."""
    if not console.is_terminal:
        plain = _PlainProgress(title, total, unit)
        yield plain
        plain._line()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        yield _RichProgress(bar, title, total)
