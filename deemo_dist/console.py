"""What a person sees: rich on a terminal, plain lines elsewhere, and JSON lines for machines.

``logger`` is the one logger of the project. ``DEEMO_LOG=json`` turns its lines into JSON with run, attempt, rank, step.
"""

import json
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote

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
_hidden: list[re.Pattern[str]] = []
MASK = "***"
_SHORTEST = 3


def bind(**fields: Any) -> None:
    """Add fields (run, attempt, rank, step) to every JSON log line of this process; ``None`` removes one."""
    for name, value in fields.items():
        if value is None:
            _context.pop(name, None)
        else:
            _context[name] = value


@contextmanager
def hiding(*names: str | None) -> Iterator[None]:
    """Keep ``names`` out of every line that this process logs meanwhile.

    A name is hidden whole, and if it is a path or a URI so are its last folder, its file name and its stem; each also
    percent-encoded, and whatever its case. What other libraries log or warn of is said by its place alone: some quote
    the text they work on. Not seen: what a C library prints by itself.
    """
    forms = {form for name in names if name for form in _forms(name)}
    if not forms:
        yield
        return
    longest_first = sorted(forms, key=lambda form: (-len(form), form))
    pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)
    _hidden.append(pattern)
    before, warn = logging.getLogRecordFactory(), warnings.showwarning
    if len(_hidden) == 1:
        logging.setLogRecordFactory(lambda *args, **more: _scrubbed(before(*args, **more)))
        warnings.showwarning = _place_of_warning
    try:
        yield
    finally:
        _hidden.remove(pattern)
        if not _hidden:
            logging.setLogRecordFactory(before)
            warnings.showwarning = warn


def scrub(text: str) -> str:
    """``text`` without the names that are being hidden."""
    for pattern in _hidden:
        text = pattern.sub(MASK, text)
    return text


def _forms(name: str) -> Iterator[str]:
    """How a name or a path may be written, parts too short to tell left out."""
    parts = {name, name.partition("://")[2]}
    if "/" in name:
        *_, folder, file = name.rsplit("/", 2)
        parts |= {folder, file, file.rpartition(".")[0]}
    for part in parts:
        if len(part) >= _SHORTEST:
            yield from (part, quote(part), quote(part, safe=""), unquote(part))


def _scrubbed(record: logging.LogRecord) -> logging.LogRecord:
    """A log record said out, without hidden names, its traceback included; another library's by its place."""
    if record.name.partition(".")[0] != logger.name:
        record.msg = f"{record.name}: {record.levelname.lower()} at {record.pathname}:{record.lineno}, text withheld"
        record.args = record.exc_info = None
        return record
    try:
        record.msg = scrub(record.getMessage())
    except (TypeError, ValueError, KeyError):  # a message that does not take its arguments: they are left out
        record.msg = scrub(str(record.msg))
    record.args = None
    if record.exc_info:
        record.exc_text = scrub(logging.Formatter().formatException(record.exc_info))
        record.exc_info = None
    return record


def _place_of_warning(
    message: Any, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None
) -> None:
    """In place of ``warnings.showwarning``."""
    logger.debug("%s at %s:%d, text withheld", category.__name__, filename, lineno)


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: time (Unix seconds), level, message and the bound context."""

    def format(self, record: logging.LogRecord) -> str:
        row = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info or record.exc_text:
            row["exception"] = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]
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
