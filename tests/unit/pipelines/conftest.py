"""A run's configuration under a fresh root key."""

import os
from pathlib import Path

import pytest

from deemo_dist.config import RunConfig
from tests.made import config_of


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setenv("DEEMO_ROOT_KEY", os.urandom(32).hex())
    return config_of(tmp_path)
