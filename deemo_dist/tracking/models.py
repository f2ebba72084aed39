"""An exported model in MLflow: a logged model of the exported folder as it is, a registered version, an alias.

The folder is stored unchanged (safetensors and JSON) below ``model/`` beside an ``MLmodel`` file with a flavour of our
own. MLflow's transformers flavour is not used: it wants a pipeline, guesses requirements and knows no custom class.
Files that may hold a pickle are refused. Load it with ``download_model`` and transformers' Auto classes.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from deemo_dist.config import TrackingConfig
from deemo_dist.digests import digest_of
from deemo_dist.errors import TrackingError
from deemo_dist.tracking.connection import client, connection

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"})
ALIAS = "current"
FLAVOUR = "deemo_dist"
_FOLDER = "model"
_DIGEST_TAG = "deemo.digest"
_TIME_TAG = "deemo.logged"
"""When a version was last logged, Unix ms by the run's clock."""


def refuse_pickles(directory: Path) -> None:
    """Raise ``TrackingError`` when a model folder holds a file that may be a pickle, or no ``config.json``."""
    if not (directory / "config.json").is_file():
        raise TrackingError(f"'{directory.name}' is no exported model", hint="export it with save_pretrained")
    for path in sorted(directory.rglob("*")):
        if path.suffix in PICKLES:
            raise TrackingError(f"the model's file '{path.name}' may hold a pickle", hint="export safetensors")


def folder_digest(directory: Path) -> str:
    """Hex SHA-256 over the names and contents of a folder's files."""
    rows = []
    for path in sorted(item for item in directory.rglob("*") if item.is_file()):
        with path.open("rb") as file:
            rows.append([str(path.relative_to(directory)), hashlib.file_digest(file, "sha256").hexdigest()])
    return digest_of(rows)


def folder_bytes(directory: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def is_whole(directory: Path, event: Mapping[str, Any]) -> bool:
    """Whether the folder of a logged model is here, with as many bytes as it had."""
    return directory.is_dir() and event.get("bytes") in (None, folder_bytes(directory))


def deliver_model(client: "MlflowClient", experiment: str, run_id: str, event: Mapping[str, Any]) -> None:
    """Log the folder ``event['directory']`` as a model of the run; register and alias it where asked. Repeatable."""
    directory = Path(event["directory"])
    digest = folder_digest(directory)
    model_id = _logged(client, experiment, run_id, event["name"], directory, digest)
    if event.get("register_as"):
        version = _version(client, event["register_as"], run_id, model_id, digest)
        _move_alias(client, event, version)


def _move_alias(client: "MlflowClient", event: Mapping[str, Any], version: str) -> None:
    """Point the alias to ``version``, unless it points to one that was logged later: this one came late."""
    name, alias, logged = event["register_as"], event["alias"], int(event["time"])
    current = client.get_registered_model(name).aliases.get(alias)
    if current is not None and str(current) != version:
        said = client.get_model_version(name, str(current)).tags.get(_TIME_TAG, "")
        if said.isdigit() and int(said) > logged:
            return
    client.set_model_version_tag(name, version, _TIME_TAG, str(logged))
    client.set_registered_model_alias(name, alias, version)


def _logged(client: "MlflowClient", experiment: str, run_id: str, name: str, directory: Path, digest: str) -> str:
    """The id of the logged model with this digest of this run; an earlier upload that did not end goes on."""
    query = f"tags.`{_DIGEST_TAG}` = '{digest}' AND source_run_id = '{run_id}'"
    found = client.search_logged_models([experiment], filter_string=query)
    ready = [model.model_id for model in found if str(model.status) == "READY"]
    if ready:
        return ready[0]
    model = found[0] if found else None
    there: dict[str, int] = {}
    if model is None:
        tags = {_DIGEST_TAG: digest, "deemo.format": "transformers"}
        model = client.create_logged_model(experiment, name=name, source_run_id=run_id, tags=tags)
    else:
        there = _sizes(client, model.model_id, _FOLDER)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "MLmodel").write_text(_mlmodel(run_id, model.model_id, digest))
        client.log_model_artifacts(model.model_id, folder)
    _upload(client, model.model_id, directory, there)
    client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def _upload(client: "MlflowClient", model_id: str, directory: Path, there: Mapping[str, int]) -> None:
    """The folder's files one by one, but those that are there in their whole size."""
    for path in sorted(item for item in directory.rglob("*") if item.is_file()):
        place = PurePosixPath(_FOLDER, path.relative_to(directory).as_posix())
        if there.get(str(place)) != path.stat().st_size:
            client.log_model_artifact(model_id, str(path), artifact_path=str(place.parent))


def _sizes(client: "MlflowClient", model_id: str, folder: str) -> dict[str, int]:
    """What of a model's folder has been uploaded: paths and sizes in bytes."""
    sizes: dict[str, int] = {}
    for item in client.list_logged_model_artifacts(model_id, folder):
        sizes |= _sizes(client, model_id, item.path) if item.is_dir else {item.path: item.file_size or 0}
    return sizes


def _mlmodel(run_id: str, model_id: str, digest: str) -> str:
    import transformers
    from mlflow.models import Model

    card = Model(run_id=run_id, model_id=model_id)
    card.add_flavor(
        FLAVOUR,
        model=_FOLDER,
        digest=digest,
        load="import deemo_dist.model, then from_pretrained(model) of the Auto class that config.json names",
        transformers_version=transformers.__version__,
    )
    return str(card.to_yaml())


def _version(client: "MlflowClient", name: str, run_id: str, model_id: str, digest: str) -> str:
    """The registered version of this model, made when there is none."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for version in client.search_model_versions(f"run_id = '{run_id}'"):
        if version.name == name and version.tags.get(_DIGEST_TAG) == digest:
            return str(version.version)
    made: ModelVersion = client.create_model_version(
        name, source=f"models:/{model_id}", run_id=run_id, model_id=model_id, tags={_DIGEST_TAG: digest}
    )
    return str(made.version)


def download_model(config: TrackingConfig, folder: Path, name: str, into: Path, *, alias: str = ALIAS) -> Path:
    """Fetch the registered model ``name@alias`` and return the folder for ``from_pretrained``.

    Raises ``TrackingError`` when there is none, when the server cannot be reached, or when it holds a pickle.
    """
    where = connection(config, folder)
    try:
        client(where)
        import mlflow

        into.mkdir(parents=True, exist_ok=True)
        found = Path(mlflow.artifacts.download_artifacts(f"models:/{name}@{alias}", dst_path=str(into)))
    except Exception as error:
        raise TrackingError(
            f"the registered model '{name}@{alias}' cannot be fetched from {where.shown}: {type(error).__name__}",
            hint="is it registered there (tracking.register_as), and does the server answer?",
        ) from error
    refuse_pickles(found / _FOLDER)
    return found / _FOLDER
