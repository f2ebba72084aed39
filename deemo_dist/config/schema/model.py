"""DEEMO-LLaMA: its parts from transformers, its projectors, what it sees and hears of a clip."""

from dataclasses import dataclass, field
from typing import Any, Literal

from deemo_dist.config.fields import partly_operational


@dataclass(frozen=True, kw_only=True)
class TowerConfig:
    """A part that comes from transformers: ``source`` is ``random``, ``weights:NAME``, a path, a prefix
    ``s3://bucket/prefix`` or a hub name; ``type`` its transformers model type; ``settings`` its config's keys (for
    ``random``)."""

    source: str = "random"
    type: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AudioFeaturesConfig:
    """What the audio tower is given. ``kind``: ``mel`` (Whisper's log-mel), ``pitch`` (a log-frequency spectrum without
    its envelope, and how it moved in pitch since a little before), ``waveform``. ``bins`` a frame of ``window_ms``
    every ``hop_ms``; ``pitch`` gives the last third of its bins to the movement."""

    kind: Literal["mel", "pitch", "waveform"] = "mel"
    bins: int = 80
    window_ms: float = 25.0
    hop_ms: float = 10.0
    min_hz: float = 0.0
    max_hz: float = 8000.0


@dataclass(frozen=True, kw_only=True)
class ProjectorConfig:
    """From tower features to LLM embeddings. ``kind``: mlp (with pooling), qformer, stc (spatial-temporal conv)."""

    kind: Literal["mlp", "qformer", "stc"] = "mlp"
    tokens: int = 4
    hidden: int = 256
    layers: int = 2
    heads: int = 4


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """DEEMO-LLaMA. ``frames`` sampled a clip; ``image_size`` pixels; audio cut in windows of ``audio_window`` seconds
    at most ``audio_windows`` of them; ``cue_frames`` steps of ``cue_keypoints`` body cues at ``cue_rate`` per second.
    ``image_normalise``: by the tower's own mean and deviation, by the clip's, or so with what moves brought out.
    ``image_mean``, ``image_std`` of R, G and B, in place of those stored beside the tower (0.5 for one of random
    weights)."""

    name: str = "nano"
    llm: TowerConfig = field(default_factory=TowerConfig)
    vision: TowerConfig = field(default_factory=TowerConfig)
    audio: TowerConfig = field(default_factory=TowerConfig)
    tokenizer: str = "builtin"
    video_projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    audio_projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    cue_projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    frames: int = 8
    image_size: int = 64
    image_normalise: Literal["fixed", "clip", "motion"] = "fixed"
    image_mean: tuple[float, ...] = partly_operational(tuple, factory=tuple)
    image_std: tuple[float, ...] = partly_operational(tuple, factory=tuple)
    audio_window: float = 4.0
    audio_windows: int = 8
    audio_features: AudioFeaturesConfig = field(default_factory=AudioFeaturesConfig)
    cue_keypoints: int = 22
    cue_frames: int = 32
    cue_rate: float = 8.0
    attention: Literal["auto", "varlen", "flash"] = "auto"
