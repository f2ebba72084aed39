"""Where MLflow is: a server by ``tracking.uri``, else an embedded SQLite file. ``check`` before a run."""

import functools
import logging
import os
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deemo_dist.config import TrackingConfig
from deemo_dist.errors import TrackingError
from deemo_dist.tracking.secrets import redact, secret_values

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SERVERS = ("http", "https")
_CHECK_SECONDS = 5.0
_FEW_RETRIES = {  # a call to a dead server blocks 247 s by MLflow's defaults; the sender retries itself
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


_CONNECTING = threading.Lock()
"""Two threads at once would both make the tables of a new database."""
ARTIFACT_SECONDS = 1800
"""A server that passes artifacts on answers only when its own store has taken the whole file."""


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A tracking URI, the experiment, and where a new experiment's artifacts go (None: where the server says)."""

    uri: str
    experiment: str
    artifacts: str | None

    @property
    def shown(self) -> str:
        """The URI without its password."""
        return redact(self.uri, secret_values())


def connection(config: TrackingConfig, folder: Path) -> Connection:
    """The connection a config asks for. ``folder`` keeps the embedded ``mlflow.db`` and ``artifacts/``.

    Raises ``TrackingError`` for a URI of a kind that is not served.
    """
    if config.uri is None:
        folder = folder.absolute()
        return Connection(
            uri=f"sqlite:///{folder / 'mlflow.db'}",
            experiment=config.experiment,
            artifacts=(folder / "artifacts").as_uri(),
        )
    scheme = urlsplit(config.uri).scheme.split("+")[0]
    if scheme in SERVERS and not urlsplit(config.uri).hostname:
        raise TrackingError(f"tracking.uri '{redact(config.uri)}' names no host", hint="such as http://127.0.0.1:5000")
    if scheme not in SERVERS + DATABASES:
        raise TrackingError(
            f"tracking.uri '{redact(config.uri)}' is of no known kind",
            hint="http://host:port of an MLflow server, sqlite:///file.db, or null for an embedded one",
        )
    beside = (folder.absolute() / "artifacts").as_uri() if scheme in DATABASES else None
    return Connection(uri=config.uri, experiment=config.experiment, artifacts=beside)


def client(where: Connection) -> "MlflowClient":
    """An MLflow client for ``where``. Model URIs are resolved by MLflow's global URI, so that is set as well."""
    for name, value in _FEW_RETRIES.items():
        os.environ.setdefault(name, value)
    with _CONNECTING:
        return _client(where)


def _client(where: Connection) -> "MlflowClient":
    import mlflow

    for name in ("alembic", "mlflow.store.db.utils", "mlflow.tracking._model_registry.client"):
        logging.getLogger(name).setLevel(logging.WARNING)
    _give_uploads_time()
    _make_folders(where)
    mlflow.set_tracking_uri(where.uri)
    mlflow.set_registry_uri(where.uri)
    return mlflow.tracking.MlflowClient(tracking_uri=where.uri, registry_uri=where.uri)


def _give_uploads_time() -> None:
    """MLflow knows one time limit for small questions and for artifacts: here, artifacts have their own."""
    from mlflow.store.artifact import http_artifact_repo

    if not isinstance(http_artifact_repo.http_request, functools.partial):
        http_artifact_repo.http_request = functools.partial(http_artifact_repo.http_request, timeout=ARTIFACT_SECONDS)


def _make_folders(where: Connection) -> None:
    if where.uri.startswith("sqlite:///"):
        Path(where.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)


def check(config: TrackingConfig, folder: Path) -> None:
    """Refuse a tracking config that cannot work, before a run. Takes 5 s at most for a server that does not answer.

    Raises ``TrackingError``: what, where, what to do, in one line. Does nothing when tracking is off.
    """
    if not config.enabled:
        return
    where = connection(config, folder)
    if urlsplit(where.uri).scheme in SERVERS:
        _check_server(where)
    try:
        client(where).search_experiments(max_results=1)
    except Exception as error:
        raise TrackingError(
            f"MLflow at {where.shown} refuses: {_first_line(error)}",
            hint="is it an MLflow 3 server or database, with MLFLOW_TRACKING_USERNAME/PASSWORD where it asks for them,"
            " and can the folder be written?",
        ) from error


def _check_server(where: Connection) -> None:
    """Ask the server's /health, without MLflow's own retries."""
    address = urlsplit(where.uri)
    host = f"[{address.hostname}]" if ":" in (address.hostname or "") else address.hostname
    port = f":{address.port}" if address.port else ""
    url = f"{address.scheme}://{host}{port}{address.path.rstrip('/')}/health"
    try:
        with urllib.request.urlopen(url, timeout=_CHECK_SECONDS) as answer:  # noqa: S310 - http(s) only, see above
            answer.read(64)
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise TrackingError(
                f"no MLflow server answers at {where.shown} (HTTP {error.code})", hint="check tracking.uri"
            ) from error
    except (OSError, ValueError) as error:
        raise TrackingError(
            f"no MLflow server answers at {where.shown} ({_first_line(error)})",
            hint="start it, correct tracking.uri, or set tracking.uri=null for an embedded one",
        ) from error


def _first_line(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    text = str(reason or error) or type(error).__name__
    return redact(text.strip().splitlines()[0][:200], secret_values())


def ui_command(config: TrackingConfig, folder: Path) -> str:
    """The shell command that opens MLflow's pages, or the server's address when there is one."""
    where = connection(config, folder)
    if urlsplit(where.uri).scheme in SERVERS:
        return where.shown
    return f"mlflow ui --backend-store-uri {where.shown}"
