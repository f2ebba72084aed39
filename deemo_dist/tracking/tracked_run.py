"""One run that is tracked, the chain's or a stage's: what is said of it becomes lines of the spool."""

import functools
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self

from deemo_dist.console import logger
from deemo_dist.errors import Interrupted
from deemo_dist.tracking.models import ALIAS, folder_bytes, refuse_pickles
from deemo_dist.tracking.params import clean_key, flat_params, number
from deemo_dist.tracking.pieces import COPIES
from deemo_dist.tracking.secrets import redact, redact_all
from deemo_dist.tracking.segment import Segment

Status = Literal["FINISHED", "FAILED", "KILLED"]
_TEXT = frozenset({".txt", ".json", ".jsonl", ".yaml", ".yml", ".md", ".csv", ".log", ".html"})
_COPY_LIMIT = 512 * 2**20
P = ParamSpec("P")


def _harmless(function: Callable[P, None]) -> Callable[P, None]:
    """Turn whatever goes wrong in a tracking call into a warning."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - no tracking error ever ends a run
            logger.warning("tracking: %s failed (%s: %s)", function.__name__, type(error).__name__, redact(str(error)))

    return call


@dataclass(frozen=True, kw_only=True)
class Sink:
    """Where all that is said of runs goes: ``spool``, the folder, with its segments of ``facts`` and ``files``.

    Nothing is written unless ``enabled``; ``secrets`` are masked; ``reserved``: what was reserved by a name, None where
    that is not known yet.
    """

    spool: Path
    facts: Segment
    files: Segment
    enabled: bool
    secrets: tuple[str, ...]
    reserved: Callable[[str], str | None]


class TrackedRun:
    """The parent or a stage. Every ``log_*`` returns at once; times are Unix seconds, now when not given."""

    def __init__(self, sink: Sink, name: str) -> None:
        self.sink, self.name = sink, name
        self.ended: Status | None = None
        self._odd: set[str] = set()

    @property
    def run_id(self) -> str | None:
        """The MLflow run id, None while no server has told one."""
        return self.sink.reserved(f"mlflow/{self.name}") or None

    @_harmless
    def log_params(self, params: Any) -> None:
        """Params from nested mappings or dataclasses, flattened with dots; secrets masked; any number, any length."""
        self._fact("params", values=flat_params(params, self.sink.secrets))

    @_harmless
    def log_metrics(self, values: Mapping[str, Any], step: int | None = None, timestamp: float | None = None) -> None:
        """Metrics of one step, in some microseconds. A step that the run already has is not logged again.

        Without ``step`` they are figures of the whole run: logged unless the run's last value is the same.
        """
        numbers = {}
        for key, value in values.items():
            found = number(value)
            if found is not None:
                numbers[clean_key(key)] = found
            elif key not in self._odd:
                self._odd.add(key)
                logger.warning("tracking: metric '%s' is no number (%s)", key, type(value).__name__)
        if numbers:
            self._fact("metrics", timestamp, step=None if step is None else int(step), values=numbers)

    @_harmless
    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Tags to search by; the last value counts."""
        self._fact("tags", values=flat_params(tags, self.sink.secrets))

    @_harmless
    def log_dataset(
        self, name: str, digest: str, uri: str, *, context: str = "training", profile: Mapping[str, Any] | None = None
    ) -> None:
        """A dataset as input of this run: its name, digest and place; ``profile``: counts and the like."""
        place = redact(uri, self.sink.secrets)
        self._file("dataset", name=name, digest=digest, uri=place, context=context, profile=dict(profile or {}))

    @_harmless
    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """A file (copied into the spool up to 512 MiB, so that it may change later) or a folder, into ``folder``."""
        path = Path(path).absolute()
        if not path.exists():
            raise FileNotFoundError(f"there is no file '{path.name}' to log")
        if path.is_dir() or path.stat().st_size > _COPY_LIMIT or not self.sink.enabled:
            self._file("artifact", path=str(path), to=folder)
            return
        self._file("artifact", path=self._copy(path), to=folder, copied=True)

    @_harmless
    def log_text(self, text: str, name: str, folder: str | None = None) -> None:
        """A small text as artifact ``name``, secrets masked."""
        copy = self._slot(Path(name).name)
        if self.sink.enabled:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(redact(text, self.sink.secrets))
        self._file("artifact", path=str(copy.relative_to(self.sink.spool)), to=folder, copied=True)

    @_harmless
    def log_model(
        self,
        directory: Path,
        name: str,
        *,
        register_as: str | None = None,
        alias: str = ALIAS,
        stored: str | None = None,
    ) -> None:
        """An exported model folder (safetensors; a pickle is refused), registered as ``register_as`` when given.

        The folder is read when it is sent: leave it unchanged. ``stored``: where the run's storage has it too, for
        another machine that sends it.
        """
        directory = Path(directory).absolute()
        refuse_pickles(directory)
        named = {"name": name, "register_as": register_as, "alias": alias, "stored": stored}
        self._file("model", directory=str(directory), bytes=folder_bytes(directory), **named)

    @_harmless
    def finish(self, status: Status = "FINISHED") -> None:
        """End the run with its true status. The last call counts."""
        self.ended = status
        self._fact("status", status=status)

    @_harmless
    def lost(self, status: Status = "FAILED") -> None:
        """End the run if MLflow takes it for running: its process has gone without a word. None is made for that."""
        self._fact("lost", status=status)

    @_harmless
    def start(self, tags: Mapping[str, Any] | None = None) -> None:
        """The run begins, or goes on after a restart. Called by ``Tracker.parent`` and ``Tracker.stage``."""
        self.ended = None
        self._fact("run", values=flat_params(tags or {}, self.sink.secrets))

    def _fact(self, kind: str, timestamp: float | None = None, **content: Any) -> None:
        self._write(self.sink.facts, kind, timestamp, content)

    def _file(self, kind: str, **content: Any) -> None:
        self._write(self.sink.files, kind, None, content)

    def _write(self, segment: Segment, kind: str, timestamp: float | None, content: dict[str, Any]) -> None:
        if self.sink.enabled:
            seconds = time.time() if timestamp is None else timestamp
            said = content if kind == "metrics" else redact_all(content, self.sink.secrets)
            segment.append({"kind": kind, "run": self.name, "time": int(seconds * 1000), **said})
            if kind != "metrics":
                segment.sync()

    def _slot(self, name: str) -> Path:
        return self.sink.spool / COPIES / uuid.uuid4().hex / name

    def _copy(self, path: Path) -> str:
        """Copy a file into the spool, texts without secrets; its place relative to the spool."""
        copy = self._slot(path.name)
        copy.parent.mkdir(parents=True)
        if path.suffix in _TEXT:
            copy.write_bytes(
                redact(path.read_bytes().decode(errors="surrogateescape"), self.sink.secrets).encode(
                    errors="surrogateescape"
                )
            )
        else:
            shutil.copyfile(path, copy)
        return str(copy.relative_to(self.sink.spool))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.ended is None:
            self.finish(status_of(error))


def status_of(error: BaseException | None) -> Status:
    """FINISHED without an error; KILLED for an interruption (signal, Ctrl-C, asked stop); FAILED otherwise."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "FINISHED"
    stopped = isinstance(error, Interrupted | KeyboardInterrupt)
    requeued = isinstance(error, SystemExit) and error.code == Interrupted.exit_code
    return "KILLED" if stopped or requeued else "FAILED"
