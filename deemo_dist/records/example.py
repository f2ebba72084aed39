"""An example: a sample with one conversation. Its length, and its media once loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from deemo_dist.records.sample import IndexRow


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn of a conversation; ``role`` is user or assistant. Loss falls on the assistant's text alone."""

    role: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Example:
    """A sample with one conversation.

    ``task`` names what is asked; ``answer`` is the closed-set label where there is one (for scoring); ``modalities``
    lists which of video, audio, cues, text this example shows to the model (the rest is absent, not zeroed).
    ``turns_without_text`` are the turns to use when the text modality is dropped (empty where it is not shown).
    ``prefix``: where the sample's dataset is, for an example of several mixed ones (empty: where its reader looks).
    """

    key: str
    task: str
    turns: tuple[Turn, ...]
    sample: IndexRow
    modalities: tuple[str, ...]
    answer: str | None = None
    turns_without_text: tuple[Turn, ...] = ()
    prefix: str = ""


@dataclass(frozen=True, kw_only=True)
class Length:
    """Cost of one example, known without its media: ``tokens`` in the packed sequence (media tokens included),
    ``targets`` tokens that carry loss, video ``frames`` given to the tower, ``audio_seconds`` given to the tower."""

    tokens: int
    targets: int
    frames: int
    audio_seconds: float


@dataclass(frozen=True, kw_only=True)
class Media:
    """Decoded media of one sample; ``None`` where it has none or it is not shown.

    ``frames``: uint8 [T, H, W, 3] RGB, ``frame_times``: float64 [T] seconds; ``waveform``: float32 [N], 16 kHz mono in
    [-1, 1]; ``cues``: float16 [C, K, 3] body keypoints (x, y in units of shoulder width about the mid-shoulder point,
    confidence in 0..1), ``cue_times``: float64 [C] seconds.
    """

    frames: np.ndarray | None = None
    frame_times: np.ndarray | None = None
    waveform: np.ndarray | None = None
    cues: np.ndarray | None = None
    cue_times: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class LoadedExample:
    """An example and its media, ready for the processor. ``figures``: what loading cost (bytes, seconds)."""

    example: Example
    media: Media
    figures: Mapping[str, float] = field(default_factory=dict)
