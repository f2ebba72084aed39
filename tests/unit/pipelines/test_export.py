"""In which precision a run's model is written."""

from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import load_file

from deemo_dist.config import CONFIGS, ModelConfig, RunConfig, build
from deemo_dist.model import build_model
from deemo_dist.storage import open_store
from pipelines import export


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_model_is_written_in_the_precision_it_was_trained_in(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, precision: str, dtype: torch.dtype
) -> None:
    nano = build(ModelConfig, yaml.safe_load((CONFIGS / "models/nano.yaml").read_text())["model"], where="nano.yaml")
    run = replace(config, model=nano, engine=replace(config.engine, precision=precision))
    monkeypatch.setattr(export, "trained_model", lambda *_: build_model(nano, 0))
    folder = export.export_model(run, open_store(run.storage), "models/a", (), (), "card")
    stored = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()} == {dtype}
