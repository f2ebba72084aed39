"""The configuration of DEEMO-LLaMA: a language model, a vision and an audio encoder of transformers, three
projectors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from deemo_dist.errors import ModelError

MODEL_TYPE = "deemo_llama"
KINDS = ("mlp", "qformer", "stc")


@dataclass(frozen=True, kw_only=True)
class MediaShape:
    """The sizes the processor and the model must agree on.

    ``frames`` a clip of ``image_size`` pixels square, normalised by ``image_mean`` and ``image_std`` (``fixed``), by
    the clip's own (``clip``), or so with its movement brought out (``motion``); audio in windows of ``audio_window``
    seconds at 16 kHz, at most ``audio_windows``, as ``audio_kind`` features (``audio_bins`` a frame of
    ``audio_frame_ms`` every ``audio_hop_ms``); ``cue_frames`` steps of ``cue_keypoints`` keypoints at ``cue_rate``
    per second.
    """

    frames: int = 8
    image_size: int = 64
    image_normalise: str = "fixed"
    image_mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: tuple[float, ...] = (0.5, 0.5, 0.5)
    audio_kind: str = "mel"
    audio_bins: int = 80
    audio_frame_ms: float = 25.0
    audio_hop_ms: float = 10.0
    audio_min_hz: float = 0.0
    audio_max_hz: float = 8000.0
    audio_window: float = 4.0
    audio_windows: int = 8
    cue_keypoints: int = 22
    cue_frames: int = 32
    cue_rate: float = 8.0

    @property
    def window_samples(self) -> int:
        """Samples of one audio window at 16 kHz."""
        return round(self.audio_window * 16_000)

    @property
    def window_frames(self) -> int:
        """Feature frames of one audio window."""
        return self.window_samples // round(self.audio_hop_ms * 16)

    def null_audio_shape(self) -> tuple[int, ...]:
        """Shape of one window as the tower takes it: [samples] or [bins, frames]."""
        if self.audio_kind == "waveform":
            return (self.window_samples,)
        return (self.audio_bins, self.window_frames)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "MediaShape":
        """From plain data, lists as tuples; unknown keys raise ``ModelError``."""
        values: dict[str, Any] = dict(settings)
        for key in ("image_mean", "image_std"):
            values[key] = tuple(values.get(key, (0.5, 0.5, 0.5)))
        try:
            return cls(**values)
        except TypeError as error:
            raise ModelError(f"the model's media settings do not fit this version: {error}") from error

    def plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class ProjectorShape:
    """A projector: ``kind`` mlp, qformer or stc; ``tokens`` it makes (of a frame, a window, a clip: see
    ``tokens.py``)."""

    kind: str = "mlp"
    tokens: int = 4
    hidden: int = 256
    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ModelError(f"there is no projector '{self.kind}'", hint=f"one of {', '.join(KINDS)}")
        if self.hidden % self.heads:
            raise ModelError(f"a projector of {self.hidden} hidden units cannot have {self.heads} heads")


@strict
class DeemoLlamaConfig(PreTrainedConfig):
    """DEEMO-LLaMA's configuration, composed of three of transformers' own.

    ``media``: the fields of ``MediaShape``; ``*_projector``: the fields of ``ProjectorShape``; ``*_token_id``: the
    placeholders that projected media replace; ``attention``: auto, varlen or flash; ``sources``: where the weights of
    ``llm``, ``vision`` and ``audio`` came from before training (``random``: from nowhere), for exports that refer to
    them; ``digests``: which weights these were then, by part (None: not known).
    """

    model_type = MODEL_TYPE
    sub_configs_defaults = {  # noqa: RUF012 - transformers' own spelling
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="siglip_vision_model"),
        "audio_config": SubConfigSpec(config_class=AutoConfig, model_type="whisper"),
    }

    text_config: Any = None
    vision_config: Any = None
    audio_config: Any = None
    media: dict | None = None
    video_projector: dict | None = None
    audio_projector: dict | None = None
    cue_projector: dict | None = None
    video_token_id: int = 0
    audio_token_id: int = 1
    cue_token_id: int = 2
    attention: str = "auto"
    sources: dict | None = None
    digests: dict | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        """Complete the nested parts with their defaults."""
        super().__post_init__(**kwargs)
        self.media = MediaShape.of(self.media or {}).plain()
        for name in ("video_projector", "audio_projector", "cue_projector"):
            setattr(self, name, asdict(ProjectorShape(**(getattr(self, name) or {}))))

    @property
    def media_shape(self) -> MediaShape:
        """``media`` as a record."""
        return MediaShape.of(self.media or {})

    def projector_shape(self, part: str) -> ProjectorShape:
        """The projector of ``part``: video, audio or cue."""
        return ProjectorShape(**getattr(self, f"{part}_projector"))
