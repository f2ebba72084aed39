"""An adapted model in its folder: adapters and projectors over a base by reference."""

import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from deemo_dist.config import ModelConfig, TowerConfig
from deemo_dist.errors import ModelError
from deemo_dist.model import DeemoLlamaForConditionalGeneration, build_model
from deemo_dist.model.adapters import add_adapters, merge_adapters
from deemo_dist.records.adapters import AdapterShape

LAYERS = ("language_model.model.layers.0.self_attn.q_proj", "language_model.model.layers.1.mlp.down_proj")


@pytest.fixture(scope="module")
def stored(nano: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    """The nano model, its language model out of a folder as a pretrained one is."""
    folder = tmp_path_factory.mktemp("llm")
    build_model(nano, seed=3).language_model.save_pretrained(folder)
    return dataclasses.replace(nano, llm=TowerConfig(source=str(folder)))


def adapted(config: ModelConfig) -> DeemoLlamaForConditionalGeneration:
    model = build_model(config, seed=4)
    shape = AdapterShape(rank=2, alpha=4.0, dropout=0.1)
    add_adapters(model, {LAYERS[0]: shape, LAYERS[1]: dataclasses.replace(shape, rank=3, alpha=1.0, dropout=0.0)})
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or name == "video_projector.norm.bias":
                parameter.normal_(generator=generator)
    return model.eval()


def logits(model: DeemoLlamaForConditionalGeneration) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(12)[None] + 20).logits


def test_adapters_and_projectors_come_back_over_a_base_that_is_not_stored_again(stored, tmp_path: Path):
    from safetensors import safe_open

    model = adapted(stored)
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        names = set(file.keys())
    parts = {name.split(".")[0] for name in names}
    assert parts == {"video_projector", "audio_projector", "cue_projector", "vision_tower", "audio_tower"}
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(again, DeemoLlamaForConditionalGeneration)
    assert torch.equal(logits(again), logits(model))
    again.save_pretrained(tmp_path / "twice")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "twice")), logits(model))
    said = again.generate(torch.arange(12)[None] + 20, max_new_tokens=3, do_sample=False)
    assert torch.equal(said, model.generate(torch.arange(12)[None] + 20, max_new_tokens=3, do_sample=False))
    assert merge_adapters(again) == 2
    assert torch.allclose(logits(again), logits(model), atol=1e-4)
    again.save_pretrained(tmp_path / "merged")
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert torch.equal(logits(whole.eval()), logits(again))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, torch.float32),
        ({"dtype": "bfloat16"}, torch.bfloat16),
        ({"torch_dtype": torch.bfloat16}, torch.bfloat16),
        ({"dtype": "auto"}, torch.float16),
        (
            {"torch_dtype": "auto", "trust_remote_code": False, "local_files_only": True, "device_map": None},
            torch.float16,
        ),
    ],
)
def test_a_precision_is_asked_for_as_transformers_has_it(stored, tmp_path: Path, options, expected):
    model = adapted(stored)
    for parameter in model.parameters():
        parameter.data = parameter.data.half()
    model.save_pretrained(tmp_path)
    for kind in (AutoModelForCausalLM, DeemoLlamaForConditionalGeneration):
        found = kind.from_pretrained(tmp_path, **options)
        assert {each.dtype for name, each in found.named_parameters() if "lora" not in name} == {expected}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"device_map": "auto"}, "not loaded with device_map"),
        ({"quantization_config": {"load_in_8bit": True}}, "quantization_config"),
        ({"dtype": "int8"}, "'int8' is no precision"),
        ({"dtype": "bf16"}, "'bf16' is no precision"),
    ],
)
def test_an_option_that_is_not_understood_is_refused(stored, tmp_path: Path, options, told):
    adapted(stored).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=told):
        DeemoLlamaForConditionalGeneration.from_pretrained(tmp_path, **options)


def test_an_adapter_is_added_in_fp32_and_rounded_once_to_the_precision_of_its_layer(stored):
    """As if the whole model had been in fp32 and rounded at the end, to the bit."""
    narrow, wide = adapted(stored), adapted(stored)
    for name, parameter in narrow.named_parameters():
        parameter.data = parameter.data.to(torch.bfloat16 if "lora" not in name else torch.float32)
    for name, parameter in wide.named_parameters():
        if "lora" not in name:  # values that are of both
            parameter.data = parameter.data.to(torch.bfloat16).float()
    assert merge_adapters(narrow) == merge_adapters(wide) == 2
    expected = {name: parameter.to(torch.bfloat16) for name, parameter in wide.named_parameters()}
    found = dict(narrow.named_parameters())
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_what_trained_in_full_within_the_base_goes_along(stored, tmp_path: Path):
    model = adapted(stored)
    name = "language_model.model.norm.weight"
    with torch.no_grad():
        model.get_parameter(name).mul_(2.0)
    model.trained = frozenset({name})
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), logits(model))


def test_peft_reads_the_adapter_itself(stored, tmp_path: Path):
    from peft import PeftModel

    model = adapted(stored)
    model.save_pretrained(tmp_path)
    base = build_model(stored, seed=4)
    base.load_state_dict({"video_projector.norm.bias": model.video_projector.norm.bias}, strict=False)
    theirs = PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    assert torch.equal(logits(theirs.base_model.model), logits(model))


def test_another_base_or_none_is_refused_in_one_line(stored, nano, tmp_path: Path):
    import json

    adapted(stored).save_pretrained(tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    for sources, told in (
        ({"llm": str(tmp_path / "nowhere"), "vision": "random", "audio": "random"}, "cannot be loaded"),
        ({"llm": "random", "vision": "random", "audio": "random"}, "do not fit their base"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**described, "sources": sources}))
        with pytest.raises(ModelError, match=told):
            AutoModelForCausalLM.from_pretrained(tmp_path)
