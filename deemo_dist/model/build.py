"""Build a model and its processor from the run's configuration, with random or stored weights."""

from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from deemo_dist.config import ModelConfig, TowerConfig
from deemo_dist.errors import ModelError
from deemo_dist.model.configuration import DeemoLlamaConfig, MediaShape
from deemo_dist.model.conversation import answer_ends, placeholder_ids
from deemo_dist.model.modeling import DeemoLlamaForConditionalGeneration
from deemo_dist.model.pixels import pixel_scale
from deemo_dist.model.placing import building, current
from deemo_dist.model.processing import DeemoLlamaProcessor
from deemo_dist.model.sources import RANDOM, cast_parameters, load_parts, loaded, resolved
from deemo_dist.model.towers import settle
from deemo_dist.model.vocabulary import PLACEHOLDERS, PLAIN_TEMPLATE, builtin_tokenizer

BUILTIN = "builtin"
SPARE_ROWS = 64
SIZELESS = ("convnext", "convnextv2", "bit", "poolformer")


def build_processor(config: ModelConfig) -> DeemoLlamaProcessor:
    """The processor of ``config``. Raises ``ModelError`` where the tokenizer is not to be had."""
    tokenizer = build_tokenizer(config)
    return DeemoLlamaProcessor.of(tokenizer, build_config(config, tokenizer))


def build_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """The built-in tokenizer, or a stored one with the placeholders added and, where it has none, a plain template."""
    if config.tokenizer == BUILTIN:
        return builtin_tokenizer()
    path = resolved(config.tokenizer)
    tokenizer = loaded(lambda: AutoTokenizer.from_pretrained(path, trust_remote_code=False), config.tokenizer)
    tokenizer.add_tokens(list(PLACEHOLDERS), special_tokens=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def build_config(config: ModelConfig, tokenizer: PreTrainedTokenizerBase | None = None) -> DeemoLlamaConfig:
    """The model's configuration, without its weights. Raises ``ModelError`` where parts do not fit one another."""
    tokenizer = tokenizer or build_tokenizer(config)
    media = _media(config)
    text = _part_config(config.llm, "llama", _text_defaults(tokenizer))
    text.vocab_size = max(text.vocab_size, len(tokenizer))
    vision = _part_config(config.vision, "siglip_vision_model", {"image_size": config.image_size})
    audio = _part_config(config.audio, "whisper", _audio_defaults(config.audio.type, media))
    _check_fit(vision, audio, media)
    video_id, audio_id, cue_id = placeholder_ids(tokenizer)
    return DeemoLlamaConfig(
        text_config=text,
        vision_config=settle(vision),
        audio_config=settle(audio),
        media=media.plain(),
        video_projector=vars(config.video_projector).copy(),
        audio_projector=vars(config.audio_projector).copy(),
        cue_projector=vars(config.cue_projector).copy(),
        video_token_id=video_id,
        audio_token_id=audio_id,
        cue_token_id=cue_id,
        attention=config.attention,
        sources={"llm": config.llm.source, "vision": config.vision.source, "audio": config.audio.source},
    )


def build_model(
    config: ModelConfig, seed: int, *, dtype: torch.dtype = torch.float32
) -> DeemoLlamaForConditionalGeneration:
    """The model of ``config``: what is random comes from ``seed`` (the caller's generator is left alone), the rest is
    loaded. Under ``model.placing`` its parameters go where that says, with the same values.

    Raises ``ModelError`` where weights are missing or do not fit.
    """
    tokenizer = build_tokenizer(config)
    described = build_config(config, tokenizer)
    stored = [part for part, source in (described.sources or {}).items() if source != RANDOM]
    with torch.random.fork_rng(), building(stored):
        torch.manual_seed(seed)
        model = DeemoLlamaForConditionalGeneration(described)
    current().keep(model.parameters())
    if not current().cuts:
        cast_parameters(model, dtype)
    load_parts(model, described.sources or {}, dtype)
    generation = model.generation_config
    generation.pad_token_id, generation.bos_token_id = tokenizer.pad_token_id, tokenizer.bos_token_id
    generation.eos_token_id = answer_ends(tokenizer)
    return model


def _part_config(tower: TowerConfig, default_type: str, defaults: dict[str, Any]) -> PreTrainedConfig:
    """transformers' configuration of a part: of its source, or of its type and settings. Raises ``ModelError``."""
    if tower.source == RANDOM:
        kind = tower.type or default_type
        try:
            return AutoConfig.for_model(kind, **{**defaults, **tower.settings})
        except (ValueError, TypeError) as error:
            raise ModelError(
                f"model type '{kind}': {str(error).splitlines()[0]}", hint="a model type of transformers"
            ) from error
    path = resolved(tower.source)
    found = loaded(lambda: AutoConfig.from_pretrained(path, trust_remote_code=False), tower.source)
    found = getattr(found, "vision_config", found)
    for name, value in tower.settings.items():
        setattr(found, name, value)
    return found


def _media(config: ModelConfig) -> MediaShape:
    audio = config.audio_features
    mean, std = pixel_scale(config)
    return MediaShape(
        frames=config.frames,
        image_size=config.image_size,
        image_normalise=config.image_normalise,
        image_mean=mean,
        image_std=std,
        audio_kind=audio.kind,
        audio_bins=audio.bins,
        audio_frame_ms=audio.window_ms,
        audio_hop_ms=audio.hop_ms,
        audio_min_hz=audio.min_hz,
        audio_max_hz=audio.max_hz,
        audio_window=config.audio_window,
        audio_windows=config.audio_windows,
        cue_keypoints=config.cue_keypoints,
        cue_frames=config.cue_frames,
        cue_rate=config.cue_rate,
    )


def _text_defaults(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    rows = -(-len(tokenizer) // SPARE_ROWS) * SPARE_ROWS
    return {
        "vocab_size": rows,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": False,
    }


def _audio_defaults(kind: str, media: MediaShape) -> dict[str, Any]:
    """Whisper's fixed window, said in its own words."""
    if kind not in ("", "whisper"):
        return {}
    return {"num_mel_bins": media.audio_bins, "max_source_positions": media.window_frames // 2}


def _check_fit(vision: PreTrainedConfig, audio: PreTrainedConfig, media: MediaShape) -> None:
    """Refuse towers that cannot take what the processor makes."""
    size = getattr(vision, "image_size", None)
    if size not in (None, media.image_size) and vision.model_type not in SIZELESS:
        raise ModelError(f"the vision tower takes {size} pixels, model.image_size is {media.image_size}")
    positions, bins = getattr(audio, "max_source_positions", None), getattr(audio, "num_mel_bins", None)
    if (
        positions is not None
        and media.audio_kind != "waveform"
        and (2 * positions, bins) != media.null_audio_shape()[::-1]
    ):
        raise ModelError(
            f"the audio tower takes {bins} bins x {2 * positions} frames a window, the configuration makes "
            f"{media.audio_bins} x {media.window_frames}",
            hint="set model.audio_window and model.audio_features to the tower's",
        )
    if positions is None and media.audio_kind != "waveform":
        raise ModelError(f"a '{audio.model_type}' tower takes the waveform", hint="model.audio_features.kind=waveform")
