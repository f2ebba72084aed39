"""Bring events of the spool to MLflow. Each may be brought twice: nothing is doubled by that."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deemo_dist.digests import digest_of
from deemo_dist.errors import ModelError
from deemo_dist.tracking.connection import Connection, client
from deemo_dist.tracking.models import deliver_model, is_whole
from deemo_dist.tracking.params import MAX_TAG, batches, shorten
from deemo_dist.tracking.pieces import is_copy
from deemo_dist.tracking.runs import LIFE_TAG, Reserve, Runs, RunState

if TYPE_CHECKING:
    from mlflow.entities import Metric

METRICS_PER_BATCH = 1000
_FINAL = {  # what MLflow answers to a request that would fail for ever
    "INVALID_PARAMETER_VALUE",
    "BAD_REQUEST",
    "RESOURCE_ALREADY_EXISTS",
    "INVALID_STATE",
    "MALFORMED_REQUEST",
}
_DATASET_DIGEST = 36
Header = Mapping[str, Any]
Event = dict[str, Any]
Fetch = Callable[[str, Path], Path]


class RefusedError(Exception):
    """This event can never be delivered: set aside with the reason, the next one goes on."""


def is_final(error: Exception) -> bool:
    """True for an error that would come again however often the event is sent."""
    return isinstance(error, RefusedError) or getattr(error, "error_code", None) in _FINAL


def is_rejected(error: Exception) -> bool:
    """True when the answer blames the request by its HTTP status (4xx) and not the moment (408, 429)."""
    status = _http_status(error)
    return 400 <= status < 500 and status not in (408, 429)


def _http_status(error: Exception) -> int:
    """The status that MLflow, requests or an S3 client heard; 0 where nobody answered."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if response is not None:
        return int(getattr(response, "status_code", 0))
    told = getattr(error, "get_http_status_code", None)
    return int(told()) if told else 0


def is_missing(error: Exception) -> bool:
    """True when the server does not know the run any more (deleted, or another database)."""
    return getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"


class Delivery:
    """Applies events to one MLflow. Not thread-safe: one for each stream; connects at its first use.

    ``fetch(place, folder) -> folder`` brings an exported model from the run's storage where its folder is not on this
    machine; it raises ``ModelError`` when it is not there either.
    """

    def __init__(self, where: Connection, reserve: Reserve, spool: Path, fetch: Fetch | None = None) -> None:
        self.where, self.reserve, self.spool, self.fetch = where, reserve, spool, fetch
        self._runs: Runs | None = None

    @property
    def runs(self) -> Runs:
        """The runs on the server. Importing MLflow and connecting take some two seconds at the first call."""
        if self._runs is None:
            self._runs = Runs(self.where, client(self.where), self.reserve)
        return self._runs

    def alive(self) -> bool:
        """True when the server answers a small question."""
        try:
            self.runs.client.search_experiments(max_results=1)
        except Exception:  # noqa: BLE001 - any failure is the answer
            return False
        return True

    def forget(self) -> None:
        """Read the state of runs anew at the next event."""
        if self._runs is not None:
            self._runs.forget()

    def deliver(self, header: Header, event: Event) -> None:
        """Bring one event that is not a metric. Raises what MLflow raises, and ``RefusedError``."""
        if event.get("kind") == "lost":
            self.on_lost(header, event)
            return
        kind = str(event.get("kind"))
        handler = _HANDLERS.get(kind)
        if handler is None:
            raise RefusedError(f"a record of unknown kind {event.get('kind')!r}")
        state, opened = self.state(header, event), int(header.get("opened", 0))
        if kind in _FIRST_AND_LAST:
            self.runs.look_again(state)
        if state.is_past(opened, int(event["time"])):
            handler = _LATE.get(kind, handler)
        elif opened and kind == "run":
            event = {**event, "values": {**event.get("values", {}), LIFE_TAG: str(opened)}}
        handler(self, state, event)

    def state(self, header: Header, event: Event) -> RunState:
        """The run an event belongs to."""
        try:
            return self.runs.state(header, str(event["run"]), int(event["time"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RefusedError(f"a record without {error}") from error

    def deliver_metrics(self, header: Header, events: Sequence[Event]) -> None:
        """Bring metrics of one run in requests of 1,000, without the steps that the run already has."""
        state = self.state(header, events[0])
        fresh: list[Metric] = []
        told: dict[str, dict[int, float]] = {}
        for event in events:
            fresh.extend(self._fresh(state, event, told))
        for start in range(0, len(fresh), METRICS_PER_BATCH):
            self.runs.client.log_batch(state.run_id, metrics=fresh[start : start + METRICS_PER_BATCH], synchronous=True)
            for metric in fresh[start : start + METRICS_PER_BATCH]:
                _note(state, metric)

    def _fresh(self, state: RunState, event: Event, told: dict[str, dict[int, float]]) -> list["Metric"]:
        """What of an event the run does not have; ``told``: values by step of what goes before it in the same call, to
        which this is added."""
        from mlflow.entities import Metric

        step, time = event.get("step"), int(event["time"])
        found = []
        for key, value in event["values"].items():
            before = told.setdefault(key, {})
            if step is None and before.get(0, state.latest.get(key, (0, None))[1]) == value:
                continue
            if step is not None and (int(step) in before or self._has_step(state, key, int(step))):
                continue
            before[int(step or 0)] = value
            found.append(Metric(key, float(value), time, int(step or 0)))
        return found

    def _has_step(self, state: RunState, key: str, step: int) -> bool:
        """A step beyond the last one is new; else the metric's history, read once, knows."""
        last = state.latest.get(key)
        if last is None or step > last[0]:
            return False
        if key not in state.steps:
            history = self.runs.client.get_metric_history(state.run_id, key)
            state.steps[key] = {metric.step for metric in history}
        return step in state.steps[key]

    def on_run(self, state: RunState, event: Event) -> None:
        """A run starts, or goes on after a restart."""
        if state.status != "RUNNING":
            self.runs.client.update_run(state.run_id, status="RUNNING")
            state.status = "RUNNING"
        if event.get("values"):
            self.on_tags(state, event)

    def on_status(self, state: RunState, event: Event) -> None:
        """A run ends: FINISHED, FAILED or KILLED, at the time it really did."""
        self.runs.client.set_terminated(state.run_id, status=event["status"], end_time=int(event["time"]))
        state.status = event["status"]

    def on_lost(self, header: Header, event: Event) -> None:
        """A run whose process may have gone without a word ends, if there is one, it has not ended by itself and no
        later life goes on with it."""
        state = self.runs.find(header, str(event["run"]))
        if (
            state is None
            or state.status != "RUNNING"
            or state.is_past(int(header.get("opened", 0)), int(event["time"]))
        ):
            return
        self.on_status(state, event)

    def on_late_status(self, state: RunState, event: Event) -> None:
        """An earlier life has ended: a later one has spoken since, and says how the run stands."""

    def on_late_tags(self, state: RunState, event: Event) -> None:
        """Tags of an earlier life, or its beginning: what a later one has said stays."""
        new = {name: text for name, text in event.get("values", {}).items() if name not in state.tags}
        if new:
            self.on_tags(state, {"values": new})

    def on_late_artifact(self, state: RunState, event: Event) -> None:
        """A file of an earlier life: one of the same name that is there already is a later one's, or the same."""
        folder = str(event["to"]).strip("/") if event.get("to") else None
        place = "/".join(part for part in (folder, Path(event["path"]).name) if part)
        if place not in {item.path for item in self.runs.client.list_artifacts(state.run_id, folder)}:
            self.on_artifact(state, event)

    def on_tags(self, state: RunState, event: Event) -> None:
        """Tags, the last value counts; cut at MLflow's 8,000 characters."""
        from mlflow.entities import RunTag

        for batch in batches({name: str(text)[:MAX_TAG] for name, text in event["values"].items()}):
            tags = [RunTag(name, text) for name, text in batch.items()]
            self.runs.client.log_batch(state.run_id, tags=tags, synchronous=True)
            state.tags.update(batch)

    def on_params(self, state: RunState, event: Event) -> None:
        """Params that are new. One that changed cannot be rewritten: it goes to an artifact and is named in a tag."""
        from mlflow.entities import Param

        short, long = shorten(event["values"])
        new = {name: text for name, text in short.items() if name not in state.params}
        for batch in batches(new):
            params = [Param(name, text) for name, text in batch.items()]
            self.runs.client.log_batch(state.run_id, params=params, synchronous=True)
            state.params.update(batch)
        for artifact, text in long.items():
            self.runs.client.log_text(state.run_id, text, artifact)
        changed = {name: text for name, text in short.items() if state.params.get(name) != text}
        if changed:
            lines = "".join(f"{name}: {state.params[name]} -> {text}\n" for name, text in sorted(changed.items()))
            self.runs.client.log_text(state.run_id, lines, f"params/changed-{event['time']}.txt")
            self.on_tags(state, {"values": {"deemo.params_changed": ", ".join(sorted(changed))}})

    def on_dataset(self, state: RunState, event: Event) -> None:
        """A dataset as an input of the run. MLflow's digest holds 36 characters: the whole one is in the profile."""
        import json

        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=event["name"][:500],
            digest=event["digest"][:_DATASET_DIGEST],
            source_type=event["uri"].split(":", 1)[0] if "://" in event["uri"] else "local",
            source=json.dumps({"uri": event["uri"]}),
            profile=json.dumps({"digest": event["digest"], **event.get("profile", {})}),
        )
        tags = [InputTag("mlflow.data.context", event["context"])]
        self.runs.client.log_inputs(state.run_id, datasets=[DatasetInput(dataset, tags)])

    def on_artifact(self, state: RunState, event: Event) -> None:
        """A file or a folder, as it is or as the spool's copy of it."""
        if event.get("copied") and not is_copy(event["path"]):
            raise RefusedError(f"'{event['path']}' is no copy of a file in a spool")
        path = self.spool / event["path"] if event.get("copied") else Path(event["path"])
        if path.is_dir():
            self.runs.client.log_artifacts(state.run_id, str(path), event.get("to"))
        elif path.is_file():
            self.runs.client.log_artifact(state.run_id, str(path), event.get("to"))
        else:
            raise RefusedError(f"the file '{path.name}' is gone")

    def on_model(self, state: RunState, event: Event) -> None:
        """An exported model: MLflow model, registered version, alias."""
        directory = Path(event["directory"])
        if is_whole(directory, event):
            deliver_model(self.runs.client, self.runs.experiment, state.run_id, event)
            return
        if self.fetch is None or not event.get("stored"):
            raise RefusedError(f"the exported model '{directory.name}' is gone")
        place = self.spool / "models" / digest_of(event["stored"])[:16]  # the same at each try, which goes on there
        try:
            folder = self.fetch(event["stored"], place)
        except ModelError as error:
            raise RefusedError(f"the exported model '{directory.name}' is gone ({error.message})") from error
        deliver_model(self.runs.client, self.runs.experiment, state.run_id, {**event, "directory": str(folder)})
        shutil.rmtree(place)

    def clean(self, event: Event) -> None:
        """Remove the spool's copy of a file, ``files/ID/NAME``, once its delivery is committed."""
        if event.get("copied") and is_copy(event["path"]):
            path = self.spool / event["path"]
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                path.parent.rmdir()


def _note(state: RunState, metric: "Metric") -> None:
    last = state.latest.get(metric.key)
    if last is None or metric.step >= last[0]:
        state.latest[metric.key] = (metric.step, metric.value)
    if metric.key in state.steps:
        state.steps[metric.key].add(metric.step)


_HANDLERS: dict[str, Any] = {
    "run": Delivery.on_run,
    "status": Delivery.on_status,
    "tags": Delivery.on_tags,
    "params": Delivery.on_params,
    "dataset": Delivery.on_dataset,
    "artifact": Delivery.on_artifact,
    "model": Delivery.on_model,
}
_LATE: dict[str, Any] = {
    "run": Delivery.on_late_tags,
    "tags": Delivery.on_late_tags,
    "status": Delivery.on_late_status,
    "artifact": Delivery.on_late_artifact,
}
"""What becomes of the records of a life when a later one has spoken: none of them takes the later one's word back."""
_FIRST_AND_LAST = frozenset({"run", "status"})
