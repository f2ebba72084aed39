"""Published models by their hub names, as their ``config.json`` files say: a plan needs no hub and no weights."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from deemo_dist.config import ModelConfig, TowerConfig
from deemo_dist.planning.train.symbolic import META

KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen/Qwen2.5-7B-Instruct": (
        "qwen2",
        {
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152064,
            "max_position_embeddings": 32768,
            "tie_word_embeddings": False,
        },
    ),
    "Qwen/Qwen2.5-72B-Instruct": (
        "qwen2",
        {
            "hidden_size": 8192,
            "intermediate_size": 29568,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "vocab_size": 152064,
            "max_position_embeddings": 32768,
            "tie_word_embeddings": False,
        },
    ),
    "google/siglip-so400m-patch14-384": (
        "siglip_vision_model",
        {
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "patch_size": 14,
            "image_size": 384,
        },
    ),
    "openai/whisper-large-v3": (
        "whisper",
        {
            "d_model": 1280,
            "encoder_layers": 32,
            "encoder_attention_heads": 20,
            "encoder_ffn_dim": 5120,
            "num_mel_bins": 128,
            "max_source_positions": 1500,
            "vocab_size": 51866,
        },
    ),
}


def described(config: ModelConfig) -> ModelConfig:
    """``config`` with published parts replaced by their sizes, so that nothing is looked up or loaded for them."""
    return replace(
        config,
        llm=_sized(config.llm),
        vision=_sized(config.vision),
        audio=_sized(config.audio),
        tokenizer="builtin" if config.tokenizer in KNOWN else config.tokenizer,
    )


def _sized(tower: TowerConfig) -> TowerConfig:
    if tower.source not in KNOWN:
        return tower
    kind, settings = KNOWN[tower.source]
    return TowerConfig(source="random", type=kind, settings={**settings, **tower.settings})


def empty_model(config: ModelConfig, *, precision: str = "bf16") -> nn.Module:
    """The model of ``config`` without values: every parameter has its shape, on the meta device, in ``precision``.

    Raises ``ModelError`` where a part's configuration cannot be had or parts do not fit one another.
    """
    from deemo_dist.model import DeemoLlamaForConditionalGeneration, build_config

    found = build_config(described(config))
    found.attention = "varlen"  # no kernel runs without values
    with META:
        model = DeemoLlamaForConditionalGeneration(found)
    return nn.Module.to(model, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
