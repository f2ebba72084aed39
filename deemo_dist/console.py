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
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import quote, unquote

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

logger = logging.getLogger("deemo_dist")
console = Console(stderr=True, highlight=False)
_context: dict[str, Any] = {}
_hidden: list[re.Pattern[str]] = []
MASK = "***"
PLAIN_SECONDS, SPEED_SECONDS = 10.0, 600.0
_SHORTEST = 3


def bind(**fields: Any) -> None:
    """Add fields (run, attempt, rank, step) to every JSON log line of this process; ``None`` removes one."""
    for name, value in fields.items():
        if value is None:
            _context.pop(name, None)
        else:
            _context[name] = value


@contextmanager
def hiding(*names: str | None, words: Collection[str] = ()) -> Iterator[None]:
    """Keep ``names`` out of every line that this process logs meanwhile.

    A name is hidden whole, and if it is a path or a URI so are its last folder, its file name and its stem; each also
    percent-encoded, and whatever its case. ``words`` are hidden where no letter or digit stands beside them. What other
    libraries log or warn of is said by its place alone: some quote the text they work on. Not seen: what a C library
    prints by itself.
    """
    forms = [re.escape(form) for name in names if name for form in _forms(name)]
    forms += [rf"(?<![^\W_]){re.escape(form)}(?![^\W_])" for word in words if word for form in (word, quote(word))]
    if not forms:
        yield
        return
    longest_first = sorted(set(forms), key=lambda form: (-len(form), form))
    pattern = re.compile("|".join(longest_first), re.IGNORECASE)
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


class _StandardError(logging.StreamHandler):
    """Writes to what standard error is at the time: a bar stands there, and lines go above it."""

    def emit(self, record: logging.LogRecord) -> None:
        if self._own:
            self.stream = sys.stderr
        super().emit(record)

    def setStream(self, stream: Any) -> Any:  # noqa: N802 - logging's name
        self._own = False
        return super().setStream(stream)

    _own = True


def setup_logging(*, verbose: bool = False) -> None:
    """Send the project's log to standard error: plain lines, or JSON when ``DEEMO_LOG=json``. Call once a process."""
    handler = _StandardError()
    json_lines = os.environ.get("DEEMO_LOG") == "json"
    handler.setFormatter(_JsonFormatter() if json_lines else logging.Formatter("%(message)s"))
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


class Bar(Protocol):
    """What ``progress`` yields."""

    def advance(self, count: int = 1, *, groups: int = 0) -> None:
        """``count`` more units are done, and ``groups`` more of what they come in."""


class _PlainProgress:
    """Progress without a terminal: a line at most every ten seconds, and one at the end."""

    def __init__(self, title: str, total: int | None, unit: str, groups: int | None, group_unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.groups, self.group_unit = groups, group_unit
        self.done, self.groups_done = 0, 0
        self.started = self.last = time.monotonic()
        self.said = -1

    def advance(self, count: int = 1, *, groups: int = 0) -> None:
        self.done += count
        self.groups_done += groups
        if time.monotonic() - self.last >= PLAIN_SECONDS:
            self.last = time.monotonic()
            self.line()

    def line(self) -> None:
        self.said = self.done
        seconds = max(time.monotonic() - self.started, 1e-6)
        rate = self.done / seconds
        parts = [f"{self.title}: {self.done}{_of(self.total)} {self.unit}"]
        if self.groups is not None:
            parts.append(f"{self.groups_done}{_of(self.groups)} {self.group_unit}")
        parts.append(f"{rate:.1f} {self.unit}/s")
        left = (self.total or 0) - self.done
        parts.append(f"{_clock(left / rate)} left" if left > 0 and rate > 0 else f"in {_clock(seconds)}")
        logger.info("%s", ", ".join(parts))


def _of(total: int | None) -> str:
    return "" if total is None else f"/{total}"


def _clock(seconds: float) -> str:
    """As h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class _RichProgress:
    """Progress on a terminal: a bar with counts, rate, elapsed and remaining time."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self.progress, self.task, self.groups_done = progress, task, 0

    def advance(self, count: int = 1, *, groups: int = 0) -> None:
        self.groups_done += groups
        self.progress.update(self.task, advance=count, groups=self.groups_done)


class _Counts(ProgressColumn):
    """``8/24 clips  2/6 shards  1.3 clips/s``."""

    def render(self, task: Task) -> Text:
        fields = task.fields
        text = f"{task.completed:.0f}{_of(None if task.total is None else int(task.total))} {fields['unit']}"
        if fields["of_groups"] is not None:
            text += f"  {fields['groups']}/{fields['of_groups']} {fields['group_unit']}"
        return Text(f"{text}  {task.completed / max(task.elapsed or 0.0, 1e-6):.1f} {fields['unit']}/s")


@contextmanager
def progress(
    title: str, total: int | None, *, unit: str = "items", groups: int | None = None, group_unit: str = "groups"
) -> Iterator[Bar]:
    """Show progress of ``total`` units (``None`` when unknown), which may come in ``groups`` (shards of clips)."""
    if not console.is_terminal:
        plain = _PlainProgress(title, total, unit, groups, group_unit)
        yield plain
        if plain.said != plain.done:
            plain.line()
        return
    bar = BarColumn(bar_width=None, table_column=Column(ratio=1))
    counts = _Counts(table_column=Column(no_wrap=True))
    columns = (TextColumn("{task.description}"), bar, counts, TimeElapsedColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, expand=True, speed_estimate_period=SPEED_SECONDS) as shown:
        task = shown.add_task(title, total=total, unit=unit, groups=0, of_groups=groups, group_unit=group_unit)
        yield _RichProgress(shown, task)
