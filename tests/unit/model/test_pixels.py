"""Pixels as a stored vision tower was trained to see them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, CLIPImageProcessor

from deemo_dist.config import ModelConfig, TowerConfig, config_digest
from deemo_dist.errors import ModelError
from deemo_dist.model import build_config
from deemo_dist.model.features import video_tensor
from deemo_dist.model.pixels import pixel_scale

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 16}
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def tower(folder: Path, kind: str, **about: object) -> TowerConfig:
    """A stored tower of a kind, with what is stored beside it of its pixels."""
    AutoModel.from_config(AutoConfig.for_model(kind, image_size=64, **SIZES)).save_pretrained(folder)
    if about:
        (folder / "preprocessor_config.json").write_text(json.dumps(about))
    return TowerConfig(source=str(folder))


def stored(nano: ModelConfig, vision: TowerConfig) -> ModelConfig:
    return replace(nano, vision=vision, image_normalise="fixed")


@pytest.mark.parametrize(("kind", "scale"), [("clip_vision_model", CLIP), ("dinov2", IMAGENET)])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_stored_tower_says_how_its_pixels_are_scaled(nano, tmp_path, monkeypatch, kind, scale, scheme):
    monkeypatch.setenv("DEEMO_CACHE", str(tmp_path / "cache"))
    vision = tower(tmp_path / "tower", kind, image_mean=scale[0], image_std=scale[1])
    media = build_config(stored(nano, TowerConfig(source=scheme + vision.source))).media_shape
    assert (media.image_mean, media.image_std) == scale
    frames = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    theirs = CLIPImageProcessor(image_mean=scale[0], image_std=scale[1], do_resize=False, do_center_crop=False)
    expected = theirs(list(frames), return_tensors="pt")["pixel_values"]
    assert torch.allclose(video_tensor(frames, media), expected, atol=1e-5)


def test_what_is_not_normalised_and_what_the_configuration_says(nano, tmp_path):
    plain = stored(nano, tower(tmp_path / "a", "clip_vision_model", do_normalize=False))
    assert pixel_scale(plain) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    own = replace(plain, image_mean=IMAGENET[0], image_std=IMAGENET[1])
    assert pixel_scale(own) == IMAGENET
    assert pixel_scale(nano) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert config_digest(own) != config_digest(plain)
    with pytest.raises(ModelError, match="three numbers each"):
        pixel_scale(replace(own, image_std=(1.0, 0.0, 1.0)))


def test_a_stored_tower_that_does_not_say_is_refused(nano, tmp_path):
    silent = stored(nano, tower(tmp_path / "a", "clip_vision_model"))
    with pytest.raises(ModelError, match=r"no preprocessor_config\.json can be read - put it beside"):
        build_config(silent)
    assert pixel_scale(replace(silent, image_normalise="clip")) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
