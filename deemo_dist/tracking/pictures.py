"""Removing from MLflow what shows somebody who withdrew: pages and pictures among the artifacts of runs."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deemo_dist.config import TrackingConfig
from deemo_dist.errors import TrackingError
from deemo_dist.tracking.connection import client, connection
from deemo_dist.tracking.secrets import redact

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SHOWING = (".html", ".htm", ".json", ".jsonl", ".csv", ".txt", ".md", ".svg", ".parquet")
DIGEST_TAG = "deemo.dataset_digest"
STAGE_PARENT = "mlflow.parentRunId"


def remove_pictures(
    config: TrackingConfig, folder: Path, digests: Iterable[str], holds: Callable[[bytes, str], bool]
) -> list[str]:
    """Remove the artifacts of every run on these datasets (by ``dataset_digest``), and of its stages, that ``holds``
    (content, name) says show the person; returns ``RUN_ID/PATH`` of each. Nothing where tracking is off.

    Raises ``TrackingError`` when MLflow cannot be reached or does not let go: the erasure is not done then.
    """
    wanted = sorted(set(digests) - {""})
    if not config.enabled or not wanted:
        return []
    where = connection(config, folder)
    try:
        mlflow = client(where)
        return [name for run in _runs(mlflow, config.experiment, wanted) for name in _clean(mlflow, run, holds)]
    except Exception as error:
        raise TrackingError(
            f"pictures cannot be removed from MLflow at {where.shown}: {redact(str(error).splitlines()[0][:200])}"
            if str(error)
            else f"pictures cannot be removed from MLflow at {where.shown}: {type(error).__name__}",
            hint="is it up, and may these credentials delete artifacts? Then run the same command again",
        ) from error


def _runs(mlflow: "MlflowClient", experiment: str, digests: Iterable[str]) -> Iterator[Any]:
    """Runs on the datasets, and their children; deleted ones too, whose artifacts are still there."""
    from mlflow.entities import ViewType

    found = mlflow.get_experiment_by_name(experiment)
    if found is None:
        return
    ids = [found.experiment_id]
    for digest in digests:
        for run in mlflow.search_runs(ids, f"tags.`{DIGEST_TAG}` = '{digest}'", ViewType.ALL):
            yield run
            yield from mlflow.search_runs(ids, f"tags.`{STAGE_PARENT}` = '{run.info.run_id}'", ViewType.ALL)


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
