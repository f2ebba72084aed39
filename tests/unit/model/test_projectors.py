import dataclasses

import pytest
import torch
import yaml

from deemo_dist.config import CONFIGS, ModelConfig, ProjectorConfig, TowerConfig, build
from deemo_dist.errors import ModelError
from deemo_dist.model import build_model, build_processor
from deemo_dist.model.configuration import ProjectorShape
from deemo_dist.model.projectors import _pool_line, _pool_places, build_projector
from deemo_dist.model.tokens import video_tokens
from deemo_dist.model.towers import call_tower, patches_of, places_of


@pytest.mark.parametrize("kind", ["mlp", "qformer", "stc"])
@pytest.mark.parametrize(("frames", "places", "tokens"), [(8, 16, 4), (7, 9, 3), (1, 16, 1), (3, 12, 16)])
def test_projectors_give_the_tokens_that_are_counted(kind, frames, places, tokens):
    shape = ProjectorShape(kind=kind, tokens=tokens, hidden=32)
    features, seconds = torch.randn(2, frames, places, 24), torch.arange(frames).float().expand(2, -1)
    video = build_projector(24, 20, shape, per_step=True)
    assert video(features, seconds).shape == (2, video_tokens(shape, frames), 20)
    sound = build_projector(24, 20, shape, per_step=False)
    assert sound(features[:, :, :1], seconds).shape == (2, tokens, 20)
    assert torch.allclose(video(features, seconds)[1], video(features[1:], seconds[1:])[0], atol=1e-5)


@pytest.mark.parametrize(("places", "tokens"), [(16, 4), (16, 9), (49, 4), (15, 4), (7, 7), (2, 5)])
def test_pooling_is_torch_s_own_by_products_of_matrices(places, tokens):
    features = torch.randn(3, places, 8, generator=torch.Generator().manual_seed(1))
    line = torch.nn.functional.adaptive_avg_pool1d(features.transpose(1, 2), tokens).transpose(1, 2)
    assert torch.allclose(_pool_line(features, tokens), line, atol=1e-6)
    side, grid = round(places**0.5), round(tokens**0.5)
    if side**2 == places and grid**2 == tokens:
        square = features.transpose(1, 2).unflatten(2, (side, side))
        line = torch.nn.functional.adaptive_avg_pool2d(square, grid).flatten(2).transpose(1, 2)
    assert torch.allclose(_pool_places(features, tokens), line, atol=1e-6)


@pytest.mark.parametrize("kind", ["mlp", "qformer", "stc"])
def test_order_in_time_matters(kind):
    projector = build_projector(24, 20, ProjectorShape(kind=kind, tokens=4, hidden=32), per_step=True)
    features, seconds = torch.randn(1, 8, 16, 24), torch.arange(8.0)[None]
    forward, backward = projector(features, seconds), projector(features.flip(1), seconds)
    assert not torch.allclose(forward.sum(1), backward.sum(1), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["qformer", "stc"])
def test_other_projectors_in_a_whole_model(nano, loaded, kind):
    shape = ProjectorConfig(kind=kind, tokens=4, hidden=32)
    config = dataclasses.replace(nano, video_projector=shape, audio_projector=shape, cue_projector=shape)
    model, processor = build_model(config, 0), build_processor(config)
    pack = processor.pack([loaded("a"), loaded("b", modalities=("video",))])
    lengths = [
        processor.length_of(loaded("a").example),
        processor.length_of(loaded("b", modalities=("video",)).example),
    ]
    assert pack["cu_seqlens"].diff().tolist() == [length.tokens for length in lengths]
    model(**pack).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


TOWERS = {
    "siglip_vision_model": {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
    "clip_vision_model": {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    "dinov2": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    "beit": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    "convnext": {"num_stages": 2, "hidden_sizes": [16, 32], "depths": [1, 1]},
}


@pytest.mark.parametrize("kind", TOWERS)
def test_other_vision_towers(nano, loaded, kind):
    settings = TOWERS[kind] | ({} if kind == "convnext" else {"patch_size": 16})
    config = dataclasses.replace(nano, vision=TowerConfig(type=kind, settings=settings))
    model, processor = build_model(config, 0), build_processor(config)
    assert torch.isfinite(model(**processor.pack([loaded()])).loss)
    vision = model.config.vision_config
    hidden = call_tower(model.vision_tower, torch.zeros(2, 3, 64, 64))
    assert places_of(hidden, 32, patches_of(vision)).shape[1] == (64 if kind == "convnext" else 16)


def test_tokens_ahead_of_the_patches_are_taken_off_and_no_others():
    hidden = torch.arange(18.0).view(1, 18, 1)
    assert places_of(hidden, 1, 16)[0, 0, 0] == 2 and places_of(hidden, 1).shape[1] == 18
    assert places_of(hidden, 1, 64).shape[1] == 18
    with pytest.raises(ModelError, match="gave 18 tokens where its configuration says 1 patches"):
        places_of(hidden, 1, 1)


@pytest.mark.slow
def test_hubert_takes_the_waveform(nano, loaded):
    settings = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
                "conv_dim": [16] * 7, "num_conv_pos_embedding_groups": 4, "num_conv_pos_embeddings": 16}  # fmt: skip
    audio = dataclasses.replace(nano.audio_features, kind="waveform")
    config = dataclasses.replace(nano, audio=TowerConfig(type="hubert", settings=settings), audio_features=audio)
    model, processor = build_model(config, 0).eval(), build_processor(config)
    pack = processor.pack([loaded()])
    assert not model.audio_tower.config.apply_spec_augment
    assert pack["input_features"].shape == (1, 64_000)
    assert torch.isfinite(model(**pack).loss) and torch.equal(model(**pack).loss, model(**pack).loss)


def test_qwen_as_the_language_model(nano, loaded):
    settings = {key: value for key, value in nano.llm.settings.items() if key != "initializer_range"}
    config = dataclasses.replace(nano, llm=TowerConfig(type="qwen2", settings=settings))
    model, processor = build_model(config, 0).eval(), build_processor(config)
    items = [loaded("a"), loaded("b", modalities=("text",))]
    together = model(**processor.pack(items)).logits
    alone = torch.cat([model(**processor.pack([item])).logits for item in items])
    assert torch.allclose(together, alone, atol=2e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision": TowerConfig(type="siglip_vision_model", settings={"image_size": 32})}, "takes 32 pixels"),
        ({"audio": TowerConfig(type="whisper", settings={"num_mel_bins": 5})}, "takes 5 bins"),
        ({"audio": TowerConfig(type="hubert")}, "takes the waveform"),
        ({"vision": TowerConfig(type="vit_mae", settings={"image_size": 64})}, "hides patches by chance"),
        ({"llm": TowerConfig(source="file:///nowhere")}, "there is no model at file:///nowhere"),
        ({"llm": TowerConfig(type="lama")}, "model type 'lama'"),
        ({"llm": TowerConfig(source="/nowhere")}, "'/nowhere' cannot be loaded"),
        ({"tokenizer": "/nowhere"}, "'/nowhere' cannot be loaded"),
        ({"video_projector": ProjectorConfig(hidden=10, heads=4)}, "cannot have 4 heads"),
    ],
)
def test_parts_that_do_not_fit_are_refused(nano, change, message):
    with pytest.raises(ModelError, match=message):
        build_model(dataclasses.replace(nano, **change), 0)


@pytest.mark.parametrize("name", ["nano", "smollm2-135m", "7b", "70b"])
def test_model_files_are_model_configurations(name):
    data = yaml.safe_load((CONFIGS / f"models/{name}.yaml").read_text())
    assert list(data) == ["model"] and build(ModelConfig, data["model"], where=name).name == name
