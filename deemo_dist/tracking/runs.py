"""Find or create the MLflow run of a name, ``parent``, ``stages/NAME`` or ``stages/NAME@KEY``: one over all restarts.

MLflow gives ids itself, so ours rests on a tag: ``deemo.key`` = tracking key of the chain + name. The tag is searched
before anything is created; the id is then reserved by the caller's put-if-absent, and of two processes that create at
the same moment the loser deletes its own run.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deemo_dist.console import logger
from deemo_dist.tracking.connection import Connection

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

PARENT = "parent"
STAGES = "stages/"
WITH_KEY = "@"
"""Between a stage's name and the key of a training of it that is not the first."""
KEY_TAG = "deemo.key"
LIFE_TAG = "deemo.life"
"""When the spool of the life was opened that spoke last of a run: what an earlier life's records say comes too late."""
Reserve = Callable[[str, str], str]
_MAKING = threading.RLock()
"""The streams' threads make no run at the same time: the second one finds it."""


@dataclass
class RunState:
    """What is known of a run on the server: its id, status and the last value of each metric.

    ``latest``: metric -> (step, value); ``steps``: metric -> steps it has, read only when a step comes twice;
    ``ended``: Unix ms of its end, 0 while it is running.
    """

    run_id: str
    status: str
    latest: dict[str, tuple[int, float]]
    params: dict[str, str]
    tags: dict[str, str] = field(default_factory=dict)
    ended: int = 0
    steps: dict[str, set[int]] = field(default_factory=dict)

    @property
    def life(self) -> int:
        """When the life's spool was opened that spoke last."""
        said = self.tags.get(LIFE_TAG, "")
        return int(said) if said.isdigit() else 0

    def is_past(self, opened: int, time: int) -> bool:
        """Whether a record of a life whose spool was ``opened`` then (ns), said at ``time`` (ms), is older than what a
        later life has said: it was said before that one began, or before it ended."""
        return 0 < opened < self.life and time <= max(self.life // 10**6, self.ended)


class Runs:
    """Runs by (tracking key, name), resolved once and remembered until ``forget``."""

    def __init__(self, where: Connection, client: "MlflowClient", reserve: Reserve) -> None:
        self.where, self.client, self.reserve = where, client, reserve
        self._known: dict[tuple[str, str], RunState] = {}
        self._experiment: str | None = None

    def forget(self) -> None:
        """Drop what is remembered: another process may have changed it, or a run was deleted."""
        self._known.clear()
        self._experiment = None

    @property
    def experiment(self) -> str:
        """The experiment's id; created when it is missing, restored when it was deleted."""
        if self._experiment is None:
            self._experiment = self._find_experiment() or self._create_experiment()
        return self._experiment

    def _find_experiment(self) -> str | None:
        found = self.client.get_experiment_by_name(self.where.experiment)
        if found is None:
            return None
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _create_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        try:
            return str(self.client.create_experiment(self.where.experiment, artifact_location=self.where.artifacts))
        except MlflowException as error:
            found = self._find_experiment() if error.error_code == "RESOURCE_ALREADY_EXISTS" else None
            if found is None:
                raise
            return found

    def state(self, header: Mapping[str, Any], name: str, started: int) -> RunState:
        """The run ``name`` of the chain that ``header`` describes; created (start in Unix ms) when there is none."""
        known = self._known.get((header["key"], name))
        if known is None:
            with _MAKING:
                run = self._reserved(header, name, self._search(header, name), started)
            known = self._known[header["key"], name] = _state_of(run)
        return known

    def find(self, header: Mapping[str, Any], name: str) -> RunState | None:
        """The run ``name`` as the server has it now, None where there is none."""
        run = self._search(header, name)
        if run is None:
            return None
        state = self._known[header["key"], name] = _state_of(run)
        return state

    def look_again(self, state: RunState) -> None:
        """Read anew how a run stands and who spoke last of it: another node may have spoken since."""
        now = _state_of(self.client.get_run(state.run_id))
        state.status, state.tags, state.ended = now.status, now.tags, now.ended

    def _search(self, header: Mapping[str, Any], name: str) -> "Run | None":
        found = self.client.search_runs(
            [self.experiment],
            filter_string=f"tags.`{KEY_TAG}` = '{header['key']}/{name}'",
            order_by=["attributes.start_time ASC"],
            max_results=1,
        )
        return self.client.get_run(found[0].info.run_id) if found else None

    def _reserved(self, header: Mapping[str, Any], name: str, found: "Run | None", started: int) -> "Run":
        """The run that ``run.json`` reserves if this server has it, else the found one, else a new one."""
        mine = found or self._create(header, name, started)
        winner = self._reserve(name, mine.info.run_id)
        if winner == mine.info.run_id:
            return mine
        other = self._get(winner)
        if other is None:
            return mine
        if found is None:
            self.client.delete_run(mine.info.run_id)
        return other

    def _reserve(self, name: str, run_id: str) -> str:
        """The reserved id. Storage that fails here costs nothing: the tag finds the run again."""
        try:
            return self.reserve(f"mlflow/{name}", run_id)
        except Exception as error:  # noqa: BLE001 - the caller's storage; tracking never raises
            logger.warning("tracking: the id of run '%s' could not be reserved (%s)", name, type(error).__name__)
            return run_id

    def _get(self, run_id: str) -> "Run | None":
        from mlflow.exceptions import MlflowException

        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _create(self, header: Mapping[str, Any], name: str, started: int) -> "Run":
        tags = {KEY_TAG: f"{header['key']}/{name}", "deemo.run": header["run_name"]}
        if name != PARENT:
            tags["mlflow.parentRunId"] = self.state(header, PARENT, started).run_id
            tags["deemo.stage"] = name.removeprefix(STAGES).partition(WITH_KEY)[0]
        title = header["run_name"] if name == PARENT else name.removeprefix(STAGES)
        return self.client.create_run(self.experiment, start_time=started, tags=tags, run_name=title)


def _state_of(run: "Run") -> RunState:
    metrics = getattr(run.data, "_metric_objs", [])
    return RunState(
        run_id=run.info.run_id,
        status=run.info.status,
        ended=0 if run.info.status == "RUNNING" else int(run.info.end_time or 0),
        latest={metric.key: (metric.step, metric.value) for metric in metrics},
        params=dict(run.data.params),
        tags=dict(run.data.tags),
    )
