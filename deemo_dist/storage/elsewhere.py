"""Buckets beside the run's own, such as those that models are in: asked as its configuration says of its own."""

import json
import os

from deemo_dist.config import StorageConfig

VARIABLE = "DEEMO_STORAGE"
FIELDS = ("endpoint", "requests_per_second", "retries", "timeout_seconds")


def use(config: StorageConfig) -> None:
    """Let a run's configuration say how other buckets are asked, in this process and those it starts."""
    os.environ[VARIABLE] = json.dumps({name: getattr(config, name) for name in FIELDS})


def elsewhere(root: str) -> StorageConfig:
    """How the store at ``root`` is asked: as the run's configuration said by :func:`use`, else by what is usual."""
    said = json.loads(os.environ.get(VARIABLE, "{}"))
    return StorageConfig(root=root, **{name: said[name] for name in FIELDS if name in said})
