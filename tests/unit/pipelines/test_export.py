"""In which precision a run's model is written."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file

from deemo_dist.config import CONFIGS, ModelConfig, RunConfig, StageConfig, TowerConfig, TrainRule, build
from deemo_dist.model import build_model
from deemo_dist.storage import open_store
from pipelines import export


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_model_is_written_in_the_precision_it_was_trained_in(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, precision: str, dtype: torch.dtype
) -> None:
    nano = build(ModelConfig, yaml.safe_load((CONFIGS / "models/nano.yaml").read_text())["model"], where="nano.yaml")
    run = replace(config, model=nano, engine=replace(config.engine, precision=precision))
    monkeypatch.setattr(export, "trained_model", lambda *_: build_model(nano, 0))  # in fp32
    folder = export.export_model(run, open_store(run.storage), "models/a", (), (), "card")
    stored = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()} == {dtype}


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_a_model_in_bf16_is_put_together_in_bf16_and_its_adapters_in_fp32(
    config: RunConfig, tmp_path: Path, mode: str
) -> None:
    """No more than one copy of the model is in memory, and its bytes are those of a model of fp32 that was rounded."""
    nano = build(ModelConfig, yaml.safe_load((CONFIGS / "models/nano.yaml").read_text())["model"], where="nano.yaml")
    build_model(nano, 3, dtype=torch.bfloat16).language_model.save_pretrained(tmp_path / "llm")
    nano = replace(nano, llm=TowerConfig(source=str(tmp_path / "llm")))
    trains = {"*projector*": TrainRule(), "*language_model*": TrainRule(mode=mode)}
    stages = [SimpleNamespace(config=StageConfig(tasks=("emotion",), trains=trains))]
    run, store = replace(config, model=nano), open_store(config.storage)
    narrow = export.trained_model(run, store, (), stages, torch.bfloat16)
    for name, parameter in narrow.named_parameters():
        assert parameter.dtype == (torch.float32 if "lora" in name else torch.bfloat16), name
    wide = export.trained_model(run, store, (), stages)
    rounded = {name: parameter.to(torch.bfloat16) for name, parameter in wide.named_parameters() if "lora" not in name}
    found = dict(narrow.named_parameters())
    assert any("lora" in name for name in found) == (mode == "lora")
    assert all(torch.equal(found[name], value) for name, value in rounded.items())
