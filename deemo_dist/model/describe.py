"""What a model is made of, in numbers: parameters by part, and the sizes that cost formulas need."""

import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from deemo_dist.model.configuration import DeemoLlamaConfig
from deemo_dist.model.tokens import video_tokens
from deemo_dist.model.towers import width_of

PARTS = ("vision_tower", "audio_tower", "video_projector", "audio_projector", "cue_projector", "language_model")


@dataclass(frozen=True, kw_only=True)
class PartCount:
    """Parameters of one part; under ZeRO-3 the whole's, not the rank's."""

    parameters: int
    trainable: int


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Sizes of the language model, and what one clip, one audio window and one clip's cues cost beside it."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    vision_layers: int
    vision_hidden: int
    vision_tokens_per_frame: int
    audio_layers: int
    audio_hidden: int
    audio_tokens_per_window: int
    video_tokens: int
    audio_tokens: int
    cue_tokens: int


def describe(model: nn.Module) -> dict[str, PartCount]:
    """Parameters by part and in ``total``, tied ones counted once."""
    counts = {part: _count(getattr(model, part)) for part in PARTS}
    return {**counts, "total": _count(model)}


def _count(module: nn.Module) -> PartCount:
    """``ds_numel`` is what DeepSpeed calls the size of a parameter that ZeRO-3 has partitioned."""
    sizes = [(int(getattr(p, "ds_numel", p.numel())), p.requires_grad) for p in module.parameters()]
    return PartCount(parameters=sum(size for size, _ in sizes), trainable=sum(size for size, wanted in sizes if wanted))


def shape_of(config: DeemoLlamaConfig) -> ModelShape:
    """The sizes a configuration means."""
    text, vision, audio, media = config.text_config, config.vision_config, config.audio_config, config.media_shape
    heads = text.num_attention_heads
    return ModelShape(
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        heads=heads,
        kv_heads=getattr(text, "num_key_value_heads", None) or heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // heads,
        intermediate=text.intermediate_size,
        vocabulary=text.vocab_size,
        vision_layers=_layers(vision),
        vision_hidden=width_of(vision),
        vision_tokens_per_frame=(media.image_size // _stride(vision)) ** 2,
        audio_layers=_layers(audio),
        audio_hidden=width_of(audio),
        audio_tokens_per_window=_audio_steps(audio, config),
        video_tokens=video_tokens(config.projector_shape("video"), media.frames),
        audio_tokens=config.projector_shape("audio").tokens,
        cue_tokens=config.projector_shape("cue").tokens,
    )


def _layers(config: Any) -> int:
    depths = getattr(config, "depths", None)
    if depths:
        return int(sum(depths))
    return int(getattr(config, "encoder_layers", None) or config.num_hidden_layers)


def _stride(config: Any) -> int:
    """Pixels from one patch to the next."""
    if config.model_type == "bit":
        return int(config.output_stride // 2 ** (4 - len(config.depths)))
    if getattr(config, "depths", None):
        return int(config.patch_size * 2 ** (len(config.depths) - 1))
    return int(config.patch_size)


def _audio_steps(audio: Any, config: DeemoLlamaConfig) -> int:
    positions = getattr(audio, "max_source_positions", None)
    if positions:
        return int(positions)
    return config.media_shape.window_samples // math.prod(getattr(audio, "conv_stride", (320,)))
