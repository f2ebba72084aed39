"""Removing from MLflow what shows somebody who withdrew: pages and pictures among the artifacts of runs."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deemo_dist.config import TrackingConfig
from deemo_dist.errors import TrackingError
from deemo_dist.tracking.connection import check, client, connection
from deemo_dist.tracking.secrets import redact

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SHOWING = (".html", ".htm", ".json", ".jsonl", ".csv", ".txt", ".md", ".svg", ".parquet")


def remove_pictures(config: TrackingConfig, folder: Path, holds: Callable[[bytes, str], bool]) -> list[str]:
    """Remove from every run of the experiment the artifacts that ``holds`` (content, name) says show the person;
    returns ``RUN_ID/PATH`` of each. Nothing where tracking is off.

    Raises ``TrackingError`` when MLflow cannot be reached or does not let go: the erasure is not done then.
    """
    if not config.enabled:
        return []
    check(config, folder)
    where = connection(config, folder)
    try:
        mlflow = client(where)
        return [name for run in _runs(mlflow, config.experiment) for name in _clean(mlflow, run, holds)]
    except Exception as error:
        said = redact((str(error).splitlines() or [type(error).__name__])[0][:200])
        raise TrackingError(
            f"pictures cannot be removed from MLflow at {where.shown}: {said}",
            hint="is it up, and may these credentials delete artifacts? Then run the same command again",
        ) from error


def _runs(mlflow: "MlflowClient", experiment: str) -> Iterator[Any]:
    """All runs of the experiment, deleted ones too: their artifacts are still there."""
    from mlflow.entities import ViewType

    found = mlflow.get_experiment_by_name(experiment)
    token: str | None = "" if found else None
    while token is not None and found is not None:
        page = mlflow.search_runs([found.experiment_id], run_view_type=ViewType.ALL, page_token=token or None)
        yield from page
        token = page.token or None


def _clean(mlflow: "MlflowClient", run: Any, holds: Callable[[bytes, str], bool]) -> Iterator[str]:
    """Remove a run's artifacts that show the person."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(run.info.artifact_uri)
    for path in _files(mlflow, run.info.run_id):
        if not path.endswith(SHOWING):
            continue
        with tempfile.TemporaryDirectory() as folder:
            content = Path(mlflow.download_artifacts(run.info.run_id, path, folder)).read_bytes()
        if holds(content, path):
            repository.delete_artifacts(path)
            yield f"{run.info.run_id}/{path}"


def _files(mlflow: "MlflowClient", run_id: str, folder: str | None = None) -> Iterator[str]:
    for item in mlflow.list_artifacts(run_id, folder):
        if item.is_dir:
            yield from _files(mlflow, run_id, item.path)
        else:
            yield item.path
