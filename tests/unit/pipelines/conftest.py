"""A run's configuration under a fresh root key, and a stored model."""

import os
from pathlib import Path

import pytest
import yaml

from deemo_dist.config import CONFIGS, ModelConfig, RunConfig, build
from tests.made import config_of


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setenv("DEEMO_ROOT_KEY", os.urandom(32).hex())
    return config_of(tmp_path)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nano model of random weights with its processor, stored in bf16."""
    import torch

    from deemo_dist.model import build_model, build_processor

    place = tmp_path_factory.mktemp("model")
    nano = build(ModelConfig, yaml.safe_load((CONFIGS / "models/nano.yaml").read_text())["model"], where="nano.yaml")
    build_model(nano, 0).to(torch.bfloat16).save_pretrained(place)
    build_processor(nano).save_pretrained(place)
    return place
