"""The boto3 client: endpoint, credentials from the environment, time limits; its own retries are off."""

import os
from typing import Any

from deemo_dist.config import StorageConfig
from deemo_dist.errors import ConfigError

CONNECT_SECONDS = 5.0
CONNECTIONS = 32


def endpoint_of(config: StorageConfig) -> str:
    """The endpoint's URL for requests and messages: the config's, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or AWS."""
    chosen = config.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if chosen and not chosen.startswith(("http://", "https://")):
        raise ConfigError(f"{chosen!r} is no S3 endpoint", hint="write http://HOST:PORT or https://HOST")
    if chosen and "@" in chosen:
        raise ConfigError("the S3 endpoint holds credentials", hint="give them as AWS_ACCESS_KEY_ID and so on")
    return chosen or "AWS"


def make_client(config: StorageConfig) -> Any:
    """A client of its own session. Path-style addresses where an endpoint is given; ``ConfigError`` for a bad one."""
    import boto3
    from botocore.config import Config

    endpoint = endpoint_of(config)
    custom = endpoint != "AWS"
    session = boto3.session.Session()
    options = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=config.timeout_seconds,
        max_pool_connections=CONNECTIONS,
        retries={"total_max_attempts": 1, "mode": "standard"},
        s3={"addressing_style": "path" if custom else "auto"},
    )
    try:
        region = session.region_name or "us-east-1"
        return session.client("s3", endpoint_url=endpoint if custom else None, region_name=region, config=options)
    except ValueError:
        raise ConfigError(f"{endpoint!r} is no S3 endpoint", hint="write http://HOST:PORT or https://HOST") from None
