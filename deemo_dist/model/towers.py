"""The vision and audio encoders: any of transformers' by model type, built bare or loaded, and called alike."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from deemo_dist.errors import ModelError

MOST_AHEAD = 16
"""Class and register tokens ahead of the patches, at most."""


def build_tower(config: PreTrainedConfig) -> PreTrainedModel:
    """An encoder with fresh weights. Of an encoder-decoder (Whisper) the encoder alone. Raises ``ModelError``."""
    if hasattr(config, "mask_ratio"):
        raise ModelError(
            f"a '{config.model_type}' tower hides patches by chance, in another order each time",
            hint="load its weights as a 'vit'",
        )
    if config.model_type == "whisper":
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        return WhisperEncoder(config)  # type: ignore[arg-type]
    try:
        return encoder_of(AutoModel.from_config(config))
    except ValueError as error:
        raise ModelError(f"transformers cannot build a '{config.model_type}' encoder: {error}") from error


def load_tower(path: str, config: PreTrainedConfig, **options: Any) -> PreTrainedModel:
    """The encoder stored at ``path`` (a folder or a hub name) under ``config``."""
    return encoder_of(AutoModel.from_pretrained(path, config=config, trust_remote_code=False, **options))


def encoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """The encoder of an encoder-decoder, else the model itself."""
    return model.get_encoder() if model.config.is_encoder_decoder else model


def settle(config: PreTrainedConfig) -> PreTrainedConfig:
    """Switch off what makes a tower's work depend on chance or on the rank: layer drop, masking, an unused pooling
    head."""
    for name, value in (
        ("encoder_layerdrop", 0.0),
        ("layerdrop", 0.0),
        ("mask_time_prob", 0.0),
        ("mask_feature_prob", 0.0),
        ("apply_spec_augment", False),
        ("vision_use_head", False),
    ):
        if hasattr(config, name):
            setattr(config, name, value)
    return config


def width_of(config: PreTrainedConfig) -> int:
    """Channels of a tower's last hidden state."""
    for name in ("hidden_sizes", "d_model", "hidden_size", "embed_dim"):
        value = getattr(config, name, None)
        if value is not None:
            return int(value[-1] if isinstance(value, list | tuple) else value)
    raise ModelError(f"the width of a '{config.model_type}' encoder is not known from its configuration")


def places_of(output: Tensor, width: int, patches: int | None = None) -> Tensor:
    """A tower's last hidden state as [N, places, D]: feature maps [N, D, h, w] flattened, tokens that come ahead of
    ``patches`` (class and register tokens) taken off. Raises ``ModelError`` where it is not what was configured."""
    if output.dim() == 4:
        output, patches = output.flatten(2).transpose(1, 2), None
    if output.shape[-1] != width:
        raise ModelError(f"a tower gave {output.shape[-1]} channels where its configuration says {width}")
    ahead = max(0, output.shape[1] - patches) if patches is not None else 0
    if ahead > MOST_AHEAD:
        raise ModelError(f"a tower gave {output.shape[1]} tokens where its configuration says {patches} patches")
    return output[:, ahead:]


def patches_of(config: PreTrainedConfig) -> int | None:
    """How many patches a vision tower cuts an image into; None where its configuration names none. Towers that merge
    patches on the way give fewer places."""
    image, patch = getattr(config, "image_size", None), getattr(config, "patch_size", None)
    if image is None or patch is None:
        return None
    height, width = image if isinstance(image, list | tuple) else (image, image)
    high, wide = patch if isinstance(patch, list | tuple) else (patch, patch)
    return (int(height) // int(high)) * (int(width) // int(wide))


def call_tower(tower: nn.Module, inputs: Tensor) -> Tensor:
    """The last hidden state for ``inputs``, given in the tower's own dtype."""
    dtype = next((p.dtype for p in tower.parameters() if p.is_floating_point()), torch.float32)
    return tower(inputs.to(dtype)).last_hidden_state
