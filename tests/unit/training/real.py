"""The real model for the ranks of these tests: DEEMO-LLaMA nano, its towers by the plan, packs of random media."""

import dataclasses
from typing import Any

import torch
import yaml

from deemo_dist.config import CONFIGS, ModelConfig, TowerConfig, build
from deemo_dist.model import build_model, build_processor
from tests.unit.model.conftest import make_loaded

SIGLIP = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
          "patch_size": 16}  # fmt: skip
HUBERT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
          "conv_dim": [16] * 7, "num_conv_pos_embedding_groups": 4, "num_conv_pos_embeddings": 16}  # fmt: skip
ALL = ("video", "audio", "cues", "text")


def nano(plan: dict[str, Any]) -> ModelConfig:
    """Nano, as ``plan`` changes it: ``vision`` siglip, ``audio`` hubert, settings or ``source`` of the ``llm``, the
    kinds of ``projectors``."""
    config = build(ModelConfig, yaml.safe_load((CONFIGS / "models/nano.yaml").read_text())["model"], where="nano.yaml")
    llm = dataclasses.replace(config.llm, settings={**config.llm.settings, **plan.get("llm", {})})
    if "source" in plan:
        llm = TowerConfig(source=plan["source"])
    config = dataclasses.replace(config, llm=llm)
    if plan.get("vision") == "siglip":
        config = dataclasses.replace(config, vision=TowerConfig(type="siglip_vision_model", settings=SIGLIP))
    if plan.get("audio") == "hubert":
        features = dataclasses.replace(config.audio_features, kind="waveform")
        config = dataclasses.replace(config, audio=TowerConfig(type="hubert", settings=HUBERT), audio_features=features)
    for name, kind in plan.get("projectors", {}).items():
        projector = dataclasses.replace(getattr(config, f"{name}_projector"), kind=kind, heads=2)
        config = dataclasses.replace(config, **{f"{name}_projector": projector})
    return config


class Real:
    """Model and packs of a plan."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.config = nano(plan)
        self.processor = build_processor(self.config)

    def model(self) -> torch.nn.Module:
        return build_model(self.config, seed=11)

    def pack(self, step: int, number: int) -> dict[str, Any]:
        """Pack ``number`` of ``step``; those of even number lack what ``plan`` says."""
        lacking = self.plan.get("lacking", []) if number % 2 == 0 else []
        shown = tuple(each for each in ALL if each not in lacking)
        answer = ("positive", "negative")[(step + number) % 2]
        return self.processor.pack([make_loaded(f"{step}-{number}", modalities=shown, answer=answer, frames=8)])

    def null_pack(self) -> dict[str, Any]:
        return self.processor.null_pack()
