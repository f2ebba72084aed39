"""The tracker: one MLflow run a chain, one child run a stage. Rank 0 speaks; nothing here raises or waits in a step.

Every call writes a line to the spool and returns; threads bring the spool to MLflow. An MLflow that is away, slow or
wrong costs nothing but a warning, and whatever it did not take is sent at the next start or by ``replay``: on any
machine, where the run's storage keeps it.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deemo_dist.config import TrackingConfig
from deemo_dist.console import logger
from deemo_dist.tracking.carriage import Carriage
from deemo_dist.tracking.carrier import Carrier, Depot
from deemo_dist.tracking.connection import connection
from deemo_dist.tracking.delivery import Delivery, Fetch
from deemo_dist.tracking.reservations import Reservations
from deemo_dist.tracking.runs import PARENT, STAGES, WITH_KEY, Reserve
from deemo_dist.tracking.secrets import secret_values
from deemo_dist.tracking.segment import Segment, new_segments
from deemo_dist.tracking.sender import Sender
from deemo_dist.tracking.spool import pending
from deemo_dist.tracking.tracked_run import Sink, Status, TrackedRun, status_of

CLOSE_SECONDS = 30.0
STOP_SECONDS = 10.0
"""For the same when a stop was asked for: who asked waits."""
CARRY_SECONDS = 10.0
"""Besides, for the run's storage to take what MLflow did not."""
FIRST, OTHERS = "first/", "others/"
"""Reserved names: whose run is called by a stage's name alone, and what others of it are called."""


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
        carriage: Carriage | None,
        reserving: Reservations,
        patience: float,
        hurried: Callable[[], bool],
    ) -> None:
        self.spool, self.facts, self.files = spool, facts, files
        self._sink = Sink(
            spool=spool,
            facts=facts,
            files=files,
            enabled=config.enabled,
            secrets=secret_values(),
            reserved=reserving.known.get,
        )
        self._reserving = reserving
        self._sender, self._carriage = sender, carriage
        self._patience, self._hurried = patience, hurried
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
        depot: Depot | None = None,
        fetch: Fetch | None = None,
    ) -> "Tracker":
        """Open the tracking of the chain ``run_name`` and begin to send what an earlier attempt left in the spool.

        ``spool_dir``: a local folder of this run, the same at every restart on this machine; ``folder``: where the
        embedded MLflow keeps ``mlflow.db`` and ``artifacts/``; ``reserve(name, proposal) -> value``: put-if-absent
        (``run.json``), a local one when None; ``patience``: seconds that ``parent`` and ``stage`` wait for an id;
        ``hurried``: whether this process has been told to stop, so that no upload is waited for; ``depot``: where the
        run's storage keeps what waits, for a life on another node; ``fetch``: brings an exported model from there.
        Never raises: call ``check`` before a run for a clear refusal.
        """
        spool = Path(spool_dir).absolute()
        reserving = Reservations(spool, reserve)
        key = reserving("tracking_key", uuid.uuid4().hex)
        header = {"key": key, "run_name": run_name, "attempt": attempt, "folder": str(Path(folder).absolute())}
        facts, files = new_segments(spool, header)
        carriage = Carriage(Carrier(spool, depot)) if config.enabled and depot is not None else None
        sender = None
        if config.enabled:
            try:
                where = connection(config, Path(folder))
                sender = Sender(spool, lambda: Delivery(where, reserving, spool, fetch), carriage)
                sender.start()
            except Exception as error:  # noqa: BLE001 - no tracking error ever ends a run
                logger.warning("tracking: nothing is sent (%s); records wait in the spool", error)
        if carriage is not None:
            carriage.start()
            if sender is None:
                carriage.told("facts", away=True)
        return cls(
            config,
            spool=spool,
            facts=facts,
            files=files,
            sender=sender,
            carriage=carriage,
            reserving=reserving,
            patience=patience,
            hurried=hurried,
        )

    def parent(self, tags: Mapping[str, Any] | None = None) -> TrackedRun:
        """The run of the whole chain, started or continued."""
        return self._start(PARENT, tags)

    def stage(self, name: str, tags: Mapping[str, Any] | None = None, *, training: str = "") -> TrackedRun:
        """The child run of a stage, started or continued. ``training``: the key of what is trained; another one under
        the same name has a run of its own, so that its curve is not taken for what the first one's run has already."""
        return self._start(STAGES + self._called(name, training), tags)

    def _called(self, name: str, training: str) -> str:
        """What a stage's run is called: the first training's by the stage, each other one's with its key."""
        if not training or self._reserving(FIRST + name, training) == training:
            return name
        called = f"{name}{WITH_KEY}{training[:12]}"
        self._reserving(OTHERS + called, training)
        return called

    def lost(self, stages: Iterable[str], status: Status = "FAILED") -> None:
        """End the chain and the runs of ``stages`` where MLflow takes them for running. For whoever saw their process
        go."""
        for name in (*(STAGES + stage for stage in stages), PARENT):
            TrackedRun(self._sink, name).lost(status)

    def _start(self, name: str, tags: Mapping[str, Any] | None) -> TrackedRun:
        run = self._runs.setdefault(name, TrackedRun(self._sink, name))
        run.start(tags)
        self.facts.sync()
        if self._sender is not None:
            self._sender.flush(self._patience, ("facts",))
        return run

    def run_ids(self) -> dict[str, str]:
        """MLflow run ids known in this process: ``parent`` and ``stages/NAME``."""
        return {name.partition(WITH_KEY)[0]: run.run_id for name, run in self._runs.items() if run.run_id}

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until everything logged so far was sent: True then, False when MLflow is away or ``timeout`` is over."""
        self.facts.sync()
        self.files.sync()
        return self._sender is not None and self._sender.flush(timeout)

    def close(self, timeout: float = CLOSE_SECONDS, *, uploads: bool = False) -> int:
        """Send what can be sent within ``timeout`` seconds, stop, and return how many records wait in the spool; for
        them to be carried to the run's storage, 10 seconds more.

        ``uploads``: wait for the files longer, as long as their bytes move and nobody is in a hurry.
        """
        self.facts.close()
        self.files.close()
        go_on = (lambda: not self._hurried()) if uploads else None
        try:
            waiting = self._sender.stop(timeout, uploads=go_on) if self._sender else pending(self.spool)
            kept = self._carriage is not None and self._carriage.finish(CARRY_SECONDS)
        except OSError as error:
            logger.warning("tracking: the spool %s cannot be read (%s)", self.spool, error)
            return -1
        if waiting:
            place = "on the run's storage, too" if kept else "on this machine alone"
            logger.warning("tracking: %d records wait in %s for MLflow, %s", waiting, self.spool, place)
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
