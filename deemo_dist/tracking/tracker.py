"""The tracker: one MLflow run a chain, one child run a stage. Rank 0 speaks; nothing here raises or waits in a step.

Every call writes a line to the spool and returns; threads bring the spool to MLflow. An MLflow that is away, slow or
wrong costs nothing but a warning, and whatever it did not take is sent at the next start or by ``replay``.
"""

import functools
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar

from deemo_dist.config import TrackingConfig
from deemo_dist.console import logger
from deemo_dist.errors import Interrupted
from deemo_dist.tracking.connection import connection
from deemo_dist.tracking.delivery import Delivery
from deemo_dist.tracking.models import ALIAS, refuse_pickles
from deemo_dist.tracking.params import clean_key, flat_params, number
from deemo_dist.tracking.runs import PARENT, STAGES, Reserve
from deemo_dist.tracking.secrets import redact, secret_values
from deemo_dist.tracking.sender import Sender
from deemo_dist.tracking.spool import Segment, new_segments, pending, reserve_in

Status = Literal["FINISHED", "FAILED", "KILLED"]
_TEXT = frozenset({".txt", ".json", ".jsonl", ".yaml", ".yml", ".md", ".csv", ".log", ".html"})
_COPY_LIMIT = 512 * 2**20
CLOSE_SECONDS = 30.0
STOP_SECONDS = 10.0
"""For the same when a stop was asked for: who asked waits."""
P = ParamSpec("P")
T = TypeVar("T")


def _harmless(function: Callable[P, None]) -> Callable[P, None]:
    """Turn whatever goes wrong in a tracking call into a warning."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - no tracking error ever ends a run
            logger.warning("tracking: %s failed (%s: %s)", function.__name__, type(error).__name__, redact(str(error)))

    return call


class TrackedRun:
    """The parent or a stage. Every ``log_*`` returns at once; times are Unix seconds, now when not given."""

    def __init__(self, tracker: "Tracker", name: str) -> None:
        self.tracker, self.name = tracker, name
        self.ended: Status | None = None
        self._odd: set[str] = set()

    @property
    def run_id(self) -> str | None:
        """The MLflow run id, None while no server has told one."""
        return self.tracker.run_ids().get(self.name)

    @_harmless
    def log_params(self, params: Any) -> None:
        """Params from nested mappings or dataclasses, flattened with dots; secrets masked; any number, any length."""
        self._fact("params", values=flat_params(params, self.tracker.secrets))

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
        self._fact("tags", values=flat_params(tags, self.tracker.secrets))

    @_harmless
    def log_dataset(
        self, name: str, digest: str, uri: str, *, context: str = "training", profile: Mapping[str, Any] | None = None
    ) -> None:
        """A dataset as input of this run: its name, digest and place; ``profile``: counts and the like."""
        place = redact(uri, self.tracker.secrets)
        self._file("dataset", name=name, digest=digest, uri=place, context=context, profile=dict(profile or {}))

    @_harmless
    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """A file (copied into the spool up to 512 MiB, so that it may change later) or a folder, into ``folder``."""
        path = Path(path).absolute()
        if not path.exists():
            raise FileNotFoundError(f"there is no file '{path.name}' to log")
        if path.is_dir() or path.stat().st_size > _COPY_LIMIT or not self.tracker.config.enabled:
            self._file("artifact", path=str(path), to=folder)
            return
        self._file("artifact", path=self._copy(path), to=folder, copied=True)

    @_harmless
    def log_text(self, text: str, name: str, folder: str | None = None) -> None:
        """A small text as artifact ``name``, secrets masked."""
        copy = self._slot(Path(name).name)
        if self.tracker.config.enabled:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(redact(text, self.tracker.secrets))
        self._file("artifact", path=str(copy.relative_to(self.tracker.spool)), to=folder, copied=True)

    @_harmless
    def log_model(self, directory: Path, name: str, *, register_as: str | None = None, alias: str = ALIAS) -> None:
        """An exported model folder (safetensors; a pickle is refused), registered as ``register_as`` when given.

        The folder is read when it is sent: leave it unchanged.
        """
        directory = Path(directory).absolute()
        refuse_pickles(directory)
        self._file("model", directory=str(directory), name=name, register_as=register_as, alias=alias)

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
        self._fact("run", values=flat_params(tags or {}, self.tracker.secrets))

    def _fact(self, kind: str, timestamp: float | None = None, **content: Any) -> None:
        self._write(self.tracker.facts, kind, timestamp, content)

    def _file(self, kind: str, **content: Any) -> None:
        self._write(self.tracker.files, kind, None, content)

    def _write(self, segment: Segment, kind: str, timestamp: float | None, content: dict[str, Any]) -> None:
        if self.tracker.config.enabled:
            seconds = time.time() if timestamp is None else timestamp
            segment.append({"kind": kind, "run": self.name, "time": int(seconds * 1000), **content})
            if kind != "metrics":
                segment.sync()

    def _slot(self, name: str) -> Path:
        return self.tracker.spool / "files" / uuid.uuid4().hex / name

    def _copy(self, path: Path) -> str:
        """Copy a file into the spool, texts without secrets; its place relative to the spool."""
        copy = self._slot(path.name)
        copy.parent.mkdir(parents=True)
        if path.suffix in _TEXT:
            copy.write_bytes(
                redact(path.read_bytes().decode(errors="surrogateescape"), self.tracker.secrets).encode(
                    errors="surrogateescape"
                )
            )
        else:
            shutil.copyfile(path, copy)
        return str(copy.relative_to(self.tracker.spool))

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


class Tracker:
    """The tracking of one chain of stages in this process. A context manager: ends open runs, sends, closes."""

    def __init__(
        self,
        config: TrackingConfig,
        *,
        spool: Path,
        facts: Segment,
        files: Segment,
        sender: Sender | None,
        reserved: Callable[[str], str | None],
        patience: float,
        hurried: Callable[[], bool],
    ) -> None:
        self.config, self.spool, self.facts, self.files = config, spool, facts, files
        self.secrets = secret_values()
        self._sender, self._reserved, self._patience = sender, reserved, patience
        self._hurried = hurried
        self._runs: dict[str, TrackedRun] = {}

    @classmethod
    def open(
        cls,
        config: TrackingConfig,
        *,
        spool_dir: Path,
        folder: Path,
        run_name: str,
        reserve: Reserve | None = None,
        attempt: int = 0,
        patience: float = 15.0,
        hurried: Callable[[], bool] = lambda: False,
    ) -> "Tracker":
        """Open the tracking of the chain ``run_name`` and begin to send what an earlier attempt left in the spool.

        ``spool_dir``: a local folder of this run, the same at every restart on this machine; ``folder``: where the
        embedded MLflow keeps ``mlflow.db`` and ``artifacts/``; ``reserve(name, proposal) -> value``: put-if-absent
        (``run.json``), a local one when None; ``patience``: seconds that ``parent`` and ``stage`` wait for an id;
        ``hurried``: whether this process has been told to stop, so that no upload is waited for.
        Never raises: call ``check`` before a run for a clear refusal.
        """
        spool = Path(spool_dir).absolute()
        reserving = _Reservations(spool, reserve)
        key = reserving("tracking_key", uuid.uuid4().hex)
        header = {"key": key, "run_name": run_name, "attempt": attempt, "folder": str(Path(folder).absolute())}
        facts, files = new_segments(spool, header)
        sender = None
        if config.enabled:
            try:
                where = connection(config, Path(folder))
                sender = Sender(spool, lambda: Delivery(where, reserving, spool))
                sender.start()
            except Exception as error:  # noqa: BLE001 - no tracking error ever ends a run
                logger.warning("tracking: nothing is sent (%s); records wait in the spool", error)
        return cls(
            config,
            spool=spool,
            facts=facts,
            files=files,
            sender=sender,
            reserved=reserving.known.get,
            patience=patience,
            hurried=hurried,
        )

    def parent(self, tags: Mapping[str, Any] | None = None) -> TrackedRun:
        """The run of the whole chain, started or continued."""
        return self._start(PARENT, tags)

    def stage(self, name: str, tags: Mapping[str, Any] | None = None) -> TrackedRun:
        """The child run of a stage, started or continued."""
        return self._start(STAGES + name, tags)

    def lost(self, stages: Iterable[str], status: Status = "FAILED") -> None:
        """End the chain and ``stages`` where MLflow takes them for running. For whoever saw their process go."""
        for name in (*(STAGES + stage for stage in stages), PARENT):
            TrackedRun(self, name).lost(status)

    def _start(self, name: str, tags: Mapping[str, Any] | None) -> TrackedRun:
        run = self._runs.setdefault(name, TrackedRun(self, name))
        run.start(tags)
        self.facts.sync()
        if self._sender is not None:
            self._sender.flush(self._patience, ("facts",))
        return run

    def run_ids(self) -> dict[str, str]:
        """MLflow run ids known in this process: ``parent`` and ``stages/NAME``."""
        ids = {name: self._reserved(f"mlflow/{name}") for name in self._runs}
        return {name: run_id for name, run_id in ids.items() if run_id}

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until everything logged so far was sent: True then, False when MLflow is away or ``timeout`` is over."""
        self.facts.sync()
        self.files.sync()
        return self._sender is not None and self._sender.flush(timeout)

    def close(self, timeout: float = CLOSE_SECONDS, *, uploads: bool = False) -> int:
        """Send what can be sent within ``timeout`` seconds, stop, and return how many records wait in the spool.

        ``uploads``: wait for the files longer, as long as their bytes move and nobody is in a hurry.
        """
        self.facts.close()
        self.files.close()
        go_on = (lambda: not self._hurried()) if uploads else None
        try:
            waiting = self._sender.stop(timeout, uploads=go_on) if self._sender else pending(self.spool)
        except OSError as error:
            logger.warning("tracking: the spool %s cannot be read (%s)", self.spool, error)
            return -1
        if waiting:
            logger.warning("tracking: %d records wait in %s for MLflow", waiting, self.spool)
        return waiting

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for run in sorted(self._runs.values(), key=lambda run: run.name == PARENT):
            if run.ended is None:
                run.finish(status_of(error))
        status = status_of(error)
        self.close(STOP_SECONDS if status == "KILLED" else CLOSE_SECONDS, uploads=status == "FINISHED")


class _Reservations:
    """The caller's put-if-absent, and what it answered. Where it fails a local file takes its place."""

    def __init__(self, spool: Path, reserve: Reserve | None) -> None:
        self.spool, self._reserve = spool, reserve
        self.known: dict[str, str] = {}

    def __call__(self, name: str, proposal: str) -> str:
        value = self._ask(name, proposal)
        self.known[name] = value
        return value

    def _ask(self, name: str, proposal: str) -> str:
        local = proposal
        try:
            local = reserve_in(self.spool, name, proposal)
            return self._reserve(name, local) if self._reserve else local
        except Exception as error:  # noqa: BLE001 - the caller's storage; tracking never raises
            logger.warning("tracking: '%s' could not be reserved (%s)", name, type(error).__name__)
            return local
