import dataclasses

import pytest
import torch
import yaml

from deemo_dist.config import CONFIGS, ModelConfig, ProjectorConfig, TowerConfig, build
from deemo_dist.errors import ModelError
from deemo_dist.model import build_model, build_processor
from deemo_dist.model.configuration import ProjectorShape
from deemo_dist.model.projectors import build_projector
from deemo_dist.model.tokens import video_tokens


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


@pytest.mark.parametrize("kind", ["mlp", "qformer", "stc"])
def test_order_in_time_matters(kind):
    projector = build_projector(24, 20, ProjectorShape(kind=kind, tokens=4, hidden=32), per_step=True)
    features, seconds = torch.randn(1, 8, 16, 24), torch.arange(8.0)[None]
    forward, backward = projector(features, seconds), projector(features.flip(1), seconds)
    assert not torch.allclose(forward.sum(1), backward.sum(1), atol=1e-4)


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
    "convnext": {"num_stages": 2, "hidden_sizes": [16, 32], "depths": [1, 1]},
}


@pytest.mark.parametrize("kind", TOWERS)
def test_other_vision_towers(nano, loaded, kind):
    settings = TOWERS[kind] | ({} if kind == "convnext" else {"patch_size": 16})
    config = dataclasses.replace(nano, vision=TowerConfig(type=kind, settings=settings))
    model, processor = build_model(config, 0), build_processor(config)
    assert torch.isfinite(model(**processor.pack([loaded()])).loss)


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
