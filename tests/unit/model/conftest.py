import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np
import pytest
import yaml

from deemo_dist.config import CONFIGS, ModelConfig, build
from deemo_dist.records import Example, LoadedExample, Media, Turn
from tests import parts


def make_loaded(
    name: str = "a",
    *,
    frames: int = 24,
    audio_seconds: float = 3.0,
    cue_frames: int = 24,
    modalities: tuple[str, ...] = ("video", "audio", "cues", "text"),
    question: str = "which emotion does the person show?",
    answer: str | None = "positive",
) -> LoadedExample:
    """An example with random media of a seed made of its name, with the modalities' media only."""
    rng = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    turns = (Turn(role="user", text=question), *((Turn(role="assistant", text=answer),) if answer else ()))
    example = Example(
        key=name,
        task="emotion",
        turns=turns,
        sample=parts.row(key=parts.key(name), frames=frames, audio_seconds=audio_seconds, cue_frames=cue_frames),
        modalities=modalities,
        answer=answer,
    )
    samples = int(audio_seconds * 16_000)
    media = Media(
        frames=rng.integers(0, 256, (frames, 80, 96, 3), dtype=np.uint8) if frames else None,
        waveform=rng.normal(0, 0.1, samples).astype(np.float32) if samples else None,
        cues=rng.random((cue_frames, 22, 3)).astype(np.float16) if cue_frames else None,
    )
    shown = {
        "frames": media.frames if "video" in modalities else None,
        "waveform": media.waveform if "audio" in modalities else None,
        "cues": media.cues if "cues" in modalities else None,
    }
    return LoadedExample(example=example, media=dataclasses.replace(media, **shown))


@pytest.fixture(scope="session")
def loaded() -> Callable[..., LoadedExample]:
    return make_loaded


@pytest.fixture(scope="session")
def nano() -> ModelConfig:
    return build(ModelConfig, yaml.safe_load((CONFIGS / "models/nano.yaml").read_text())["model"], where="nano.yaml")


@pytest.fixture(scope="session")
def processor(nano: ModelConfig):
    from deemo_dist.model import build_processor

    return build_processor(nano)


@pytest.fixture
def model(nano: ModelConfig):
    import torch

    from deemo_dist.model import build_model

    torch.set_num_threads(1)
    return build_model(nano, 0)
