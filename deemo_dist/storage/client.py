"""The boto3 client: endpoint, credentials from the environment, time limits; its own retries are off."""

import functools
import os
import threading
from typing import Any

from deemo_dist.config import StorageConfig
from deemo_dist.errors import ConfigError

CONNECT_SECONDS = 5.0
CONNECTIONS = 32
_lock = threading.Lock()


def endpoint_of(config: StorageConfig) -> str:
    """The endpoint's URL for requests and messages: the config's, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or AWS."""
    chosen = config.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if chosen and not chosen.startswith(("http://", "https://")):
        raise ConfigError(f"{chosen!r} is no S3 endpoint", hint="write http://HOST:PORT or https://HOST")
    if chosen and "@" in chosen:
        raise ConfigError("the S3 endpoint holds credentials", hint="give them as AWS_ACCESS_KEY_ID and so on")
    return chosen or "AWS"


def make_client(config: StorageConfig) -> Any:
    """The client of this process for an endpoint and the credentials now in the environment; made once, thread-safe.

    Path-style addresses where an endpoint is given. Raises ``ConfigError`` for an endpoint that cannot be one.
    """
    credentials = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    with _lock:
        return _client(endpoint_of(config), config.timeout_seconds, os.getpid(), credentials)


@functools.lru_cache(maxsize=16)
def _client(endpoint: str, timeout: float, process: int, credentials: tuple[tuple[str, str], ...]) -> Any:
    """``process`` and ``credentials`` are only the cache's key: a fork, or other credentials, get their own client."""
    import boto3
    import botocore.session
    from botocore.config import Config

    core = botocore.session.get_session()
    core.register_component("data_loader", _loader())
    session = boto3.session.Session(botocore_session=core)
    custom = endpoint != "AWS"
    options = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=timeout,
        max_pool_connections=CONNECTIONS,
        retries={"total_max_attempts": 1, "mode": "standard"},
        s3={"addressing_style": "path" if custom else "auto"},
    )
    try:
        region = session.region_name or "us-east-1"
        return session.client("s3", endpoint_url=endpoint if custom else None, region_name=region, config=options)
    except ValueError:
        raise ConfigError(f"{endpoint!r} is no S3 endpoint", hint="write http://HOST:PORT or https://HOST") from None


@functools.cache
def _loader() -> Any:
    """Botocore's descriptions of services, parsed once a process."""
    from botocore.loaders import create_loader

    return create_loader()
