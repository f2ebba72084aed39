"""DEEMO-LLaMA: towers and projectors turn media into embeddings of a causal language model, over padding-free packs.

Every forward pass that is not a decoding step calls every encoder and projector exactly once, on a null medium where
there is none (its features then flow nowhere, with zero gradients), so that ZeRO-3 ranks never diverge.
"""

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers import initialization as init
from transformers.modeling_outputs import CausalLMOutputWithPast

from deemo_dist.errors import ModelError
from deemo_dist.model import attention
from deemo_dist.model.adapted import holds_adapters, load_adapted, refuse_options, save_adapted
from deemo_dist.model.adapters import is_adapted
from deemo_dist.model.configuration import DeemoLlamaConfig
from deemo_dist.model.loss import logits_at, loss_over
from deemo_dist.model.parted import PartedModel
from deemo_dist.model.placing import made
from deemo_dist.model.projectors import CueProjector, QFormerProjector, build_projector
from deemo_dist.model.served import check_served, over_pack
from deemo_dist.model.towers import build_tower, call_tower, patches_of, places_of, settle, width_of

MediumInput = tuple[Tensor | None, Tensor | None]
"""A medium's values and their times; None: a null medium."""

MEDIA = (
    "pixel_values",
    "frame_times",
    "input_features",
    "audio_starts",
    "cue_values",
    "cue_times",
    "video_index",
    "audio_index",
    "cue_index",
)


class DeemoLlamaForConditionalGeneration(PartedModel, GenerationMixin):
    """The model. Parts: ``vision_tower audio_tower video_projector audio_projector cue_projector language_model``."""

    base_model_prefix = ""
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: DeemoLlamaConfig) -> None:
        super().__init__(config)
        attention.register()
        self.trained = frozenset()
        self.vision_tower = made("vision", lambda: build_tower(settle(config.vision_config)))
        self.audio_tower = made("audio", lambda: build_tower(settle(config.audio_config)))
        self.language_model = made("llm", partial(attention.causal_model, config.text_config))
        check_served(self.language_model, config.text_config)
        out = config.text_config.hidden_size
        self.video_projector = build_projector(
            width_of(config.vision_config), out, config.projector_shape("video"), per_step=True
        )
        self.audio_projector = build_projector(
            width_of(config.audio_config), out, config.projector_shape("audio"), per_step=False
        )
        self.cue_projector = CueProjector(config.media_shape.cue_keypoints, out, config.projector_shape("cue"))
        self.post_init()

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """transformers' own; a model with adapters is written as ``model.adapted`` says."""
        if is_adapted(self):
            save_adapted(self, Path(save_directory))
        else:
            super().save_pretrained(save_directory, *args, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **options: Any) -> Any:
        """transformers' own; a folder with adapters is loaded over the base that it names, by ``config`` and ``dtype``
        (``torch_dtype``) alone: other options are refused (``ModelError``) where they would change what is loaded."""
        folder = Path(pretrained_model_name_or_path)
        if holds_adapters(folder):
            refuse_options(args, options)
            return load_adapted(cls, folder, options.get("config"), options.get("dtype", options.get("torch_dtype")))
        return super().from_pretrained(pretrained_model_name_or_path, *args, **options)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Our own parts: variance-preserving; transformers' parts are initialised by their own classes."""
        if isinstance(module, QFormerProjector):
            init.normal_(module.queries)
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            init.normal_(module.weight, std=module.weight.shape[1:].numel() ** -0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.MultiheadAttention):
            init.normal_(module.in_proj_weight, std=module.embed_dim**-0.5)
            init.zeros_(module.in_proj_bias)
        else:
            super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Module:
        """The language model's."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Hand on to the language model."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The language model's head."""
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Hand on to the language model."""
        self.language_model.set_output_embeddings(value)

    def video_embeddings(self, pixel_values: Tensor | None, frame_times: Tensor | None) -> Tensor:
        """float [clips, T, 3, H, W] and seconds [clips, T] -> [clips * tokens, hidden]; None: a null clip of one
        frame."""
        media = self.config.media_shape
        if pixel_values is None:
            pixel_values = torch.zeros(1, 1, 3, media.image_size, media.image_size, device=self.device)
        clips, frames = pixel_values.shape[:2]
        if frame_times is None:
            frame_times = torch.zeros(clips, frames, device=pixel_values.device)
        config = self.config.vision_config
        hidden = call_tower(self.vision_tower, pixel_values.flatten(0, 1))
        places = places_of(hidden, width_of(config), patches_of(config))
        return self.video_projector(places.unflatten(0, (clips, frames)), frame_times).flatten(0, 1)

    def audio_embeddings(self, input_features: Tensor | None, audio_starts: Tensor | None) -> Tensor:
        """Features [W, bins, frames] (or waves [W, samples]) and the windows' starts [W] in seconds -> [W * tokens,
        hidden]."""
        media = self.config.media_shape
        if input_features is None:
            input_features = torch.zeros(1, *media.null_audio_shape(), device=self.device)
        if audio_starts is None:
            audio_starts = torch.zeros(len(input_features), device=input_features.device)
        hidden = places_of(call_tower(self.audio_tower, input_features), width_of(self.config.audio_config))
        within = torch.arange(hidden.shape[1], device=hidden.device) * (media.audio_window / hidden.shape[1])
        return self.audio_projector(hidden.unsqueeze(2), audio_starts[:, None] + within[None, :]).flatten(0, 1)

    def cue_embeddings(self, cue_values: Tensor | None, cue_times: Tensor | None) -> Tensor:
        """Body cues [clips, C, K, 3] and seconds [clips, C] -> [clips * tokens, hidden]."""
        media = self.config.media_shape
        if cue_values is None:
            cue_values = torch.zeros(1, media.cue_frames, media.cue_keypoints, 3, device=self.device)
        if cue_times is None:
            cue_times = torch.zeros(cue_values.shape[:2], device=cue_values.device)
        return self.cue_projector(cue_values, cue_times).flatten(0, 1)

    def merge(self, input_ids: Tensor, features: tuple[Tensor, ...], indices: tuple[Tensor | None, ...]) -> Tensor:
        """Embeddings [B, T, hidden] of the tokens, placeholders replaced by video, audio and cues, in order or by
        index."""
        embeds = self.get_input_embeddings()(input_ids)
        config = self.config
        wanted = (("video", config.video_token_id), ("audio", config.audio_token_id), ("cue", config.cue_token_id))
        for (what, token), found, index in zip(wanted, features, indices, strict=True):
            embeds = place(embeds, input_ids == token, found, index, what)
        return embeds

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        max_seqlen: int | None = None,
        num_items_in_batch: float | Tensor | None = None,
        label_rows: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        pixel_values: Tensor | None = None,
        frame_times: Tensor | None = None,
        input_features: Tensor | None = None,
        audio_starts: Tensor | None = None,
        cue_values: Tensor | None = None,
        cue_times: Tensor | None = None,
        video_index: Tensor | None = None,
        audio_index: Tensor | None = None,
        cue_index: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Run over a pack, a padded batch or a decoding step.

        ``input_ids`` int64 [B, T]; media as the processor makes them (``MEDIA``); ``cu_seqlens`` int32 [segments + 1]
        for a pack (then B = 1). With ``labels`` [B, T] the loss is the summed cross-entropy over
        ``num_items_in_batch`` (None: the labels' own number; ``label_rows``: see ``loss_over``) and ``logits`` are
        those of the predicting positions alone, [targets, vocabulary]; without, ``logits`` are [B, T, vocabulary], the
        last ``logits_to_keep`` of them.
        Raises ``ModelError``.
        """
        if inputs_embeds is None:
            media = ((pixel_values, frame_times), (input_features, audio_starts), (cue_values, cue_times))
            inputs_embeds = self._embedded(input_ids, past_key_values, media, (video_index, audio_index, cue_index))
        packed = self._packing(cu_seqlens, max_seqlen, attention_mask, position_ids, past_key_values, inputs_embeds)
        inputs = {
            "inputs_embeds": inputs_embeds,
            "attention_mask": None if packed else attention_mask,
            "position_ids": position_ids,
            "past_key_values": past_key_values,
            "use_cache": False if packed or labels is not None else use_cache,
            **packed,
            **_handed_on(kwargs),
        }
        run = partial(self._language, inputs)
        if labels is None:
            outputs = run(logits_to_keep)
            return CausalLMOutputWithPast(logits=outputs.logits, past_key_values=outputs.past_key_values)
        loss, logits = loss_over(labels, partial(logits_at, run), num_items_in_batch, label_rows)
        return CausalLMOutputWithPast(loss=loss, logits=logits)

    def _language(self, inputs: dict[str, Any], logits_to_keep: int | Tensor) -> Any:
        """The language model's own forward pass, which ends in what its logits go through (scales, caps)."""
        packed = "cu_seq_lens_q" in inputs
        with over_pack(self.config.text_config) if packed else nullcontext():
            return self.language_model(**inputs, logits_to_keep=logits_to_keep, deemo_attention=self.config.attention)

    def _embedded(
        self,
        input_ids: Tensor | None,
        past_key_values: Any,
        media: tuple[MediumInput, MediumInput, MediumInput],
        indices: tuple[Tensor | None, ...],
    ) -> Tensor:
        """Embeddings of tokens and of video, audio and cues; of a decoding step's tokens alone: the media came with the
        prompt."""
        if input_ids is None:
            raise ModelError("the model needs input_ids or inputs_embeds")
        if past_key_values is not None and past_key_values.get_seq_length() > 0:
            return self.get_input_embeddings()(input_ids)
        video, audio, cues = media
        features = (self.video_embeddings(*video), self.audio_embeddings(*audio), self.cue_embeddings(*cues))
        return self.merge(input_ids, features, indices)

    def _packing(
        self,
        cu_seqlens: Tensor | None,
        max_seqlen: int | None,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        past_key_values: Any,
        embeds: Tensor,
    ) -> dict[str, Any]:
        """The arguments that make a pack a pack; restarted positions without them are taken as one, never as a leak."""
        if cu_seqlens is None and attention_mask is None and past_key_values is None and position_ids is not None:
            starts = torch.nonzero(position_ids.flatten() == 0).flatten().to(torch.int32)
            if len(embeds) == 1 and len(starts) > 1:
                cu_seqlens = F.pad(starts, (0, 1), value=embeds.shape[1])
        if cu_seqlens is None:
            return {}
        if len(embeds) != 1:
            raise ModelError("a pack has one row", hint="pass [1, T] with cu_seqlens, or a padded batch without")
        longest = int((cu_seqlens[1:] - cu_seqlens[:-1]).max()) if max_seqlen is None else int(max_seqlen)
        return {
            "cu_seq_lens_q": cu_seqlens,
            "cu_seq_lens_k": cu_seqlens,
            "max_length_q": longest,
            "max_length_k": longest,
        }

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """transformers' own; the media go in once, with the prompt, where there is a cache."""
        given: Any = GenerationMixin.prepare_inputs_for_generation
        inputs: dict[str, Any] = given(self, *args, **kwargs)
        if not kwargs.get("is_first_iteration") and kwargs.get("use_cache", True):
            for name in MEDIA:
                inputs.pop(name, None)
        return inputs


def _handed_on(kwargs: dict[str, Any]) -> dict[str, Any]:
    """What transformers may add and a decoder understands; the rest is not for it."""
    return {name: value for name, value in kwargs.items() if name in ("output_hidden_states", "cache_position")}


def place(embeds: Tensor, where: Tensor, features: Tensor, index: Tensor | None, what: str) -> Tensor:
    """``embeds`` [B, T, D] with the positions ``where`` [B, T] taken from ``features`` [L, D], in order or by
    ``index``.

    Features that are not taken stay in the graph with zero gradients. Raises ``ModelError`` when the numbers differ.
    """
    order = where.flatten().cumsum(0) - 1
    if where.device.type == "cpu":
        found, given = int(where.sum()), len(features) if index is None else len(index)
        if found and found != given:
            raise ModelError(f"{found} {what} placeholders in the tokens, but {given} {what} embeddings")
    if index is not None and len(index):
        order = index[order.clamp(0, len(index) - 1)]
    taken = features[order.clamp(0, len(features) - 1)].view_as(embeds).to(embeds.dtype)
    return torch.where(where.unsqueeze(-1), taken, embeds)
