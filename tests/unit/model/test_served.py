"""Language models of many families: over a pack as their own code has it over each example alone, or refused."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from deemo_dist.config import ModelConfig, TowerConfig
from deemo_dist.errors import ModelError
from deemo_dist.model import DeemoLlamaForConditionalGeneration, build_config
from deemo_dist.model.served import check_served, note_call, over_pack

SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "head_dim": 8,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
SERVED = {
    "llama": {},
    "mistral": {"sliding_window": 4},
    "qwen2": {},
    "qwen3": {},
    "gemma": {},
    "gemma2": {"sliding_window": 4, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 1.0,
               "final_logit_softcapping": 1.0},
    "gemma3_text": {"sliding_window": 4, "query_pre_attn_scalar": 8},
    "granite": {"logits_scaling": 8.0},
    "cohere": {},
    "cohere2": {"sliding_window": 4, "logit_scale": 0.25},
    "phi3": {},
    "olmo2": {},
    "smollm3": {},
    "glm4": {},
    "starcoder2": {},
    "helium": {},
    "exaone4": {"sliding_window": 4},
    "gpt2": {},
    "phi": {},
}  # fmt: skip
LINEAR = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 2}
REFUSED = {
    "gpt_oss": ({"num_local_experts": 2, "num_experts_per_tok": 1}, "attention has s_aux"),
    "nemotron": ({}, "does not hand on where the examples"),
    "stablelm": ({}, "does not hand on where the examples"),
    "lfm2": ({"layer_types": ["conv", "full_attention"] * 2, "block_ff_dim": 48}, "layers of conv"),
    "falcon_h1": ({}, "layers of hybrid"),
    "mamba": ({}, "layers of linear_attention"),
    "qwen3_5_text": (LINEAR, "layers of linear_attention"),
}
LENGTHS = (13, 9)


def language_model(nano: ModelConfig, kind: str, extra: dict) -> DeemoLlamaForConditionalGeneration:
    """DEEMO-LLaMA over a small one of a family, its weights far enough from zero that caps and scales are felt."""
    found = build_config(replace(nano, llm=TowerConfig(type=kind, settings={**SIZES, **extra})))
    torch.manual_seed(0)
    model = DeemoLlamaForConditionalGeneration(found).eval()
    with torch.no_grad():
        for parameter in model.language_model.parameters():
            parameter.mul_(10) if parameter.dim() > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def two_examples() -> dict:
    ids = torch.randint(10, 250, (1, sum(LENGTHS)), generator=torch.Generator().manual_seed(1))
    return {
        "input_ids": ids,
        "position_ids": torch.cat([torch.arange(length) for length in LENGTHS])[None],
        "cu_seqlens": torch.tensor([0, *LENGTHS]).cumsum(0).to(torch.int32),
    }


@pytest.mark.parametrize("kind", SERVED)
def test_a_pack_is_to_a_language_model_what_each_example_is_to_its_own_code(nano, kind):
    model, pack = language_model(nano, kind, SERVED[kind]), two_examples()
    own = AutoModelForCausalLM.from_config(deepcopy(model.config.text_config), attn_implementation="eager").eval()
    own.load_state_dict(model.language_model.state_dict())
    with torch.no_grad():
        alone = [own(inputs_embeds=model.get_input_embeddings()(ids)) for ids in pack["input_ids"].split(LENGTHS, 1)]
        expected = torch.cat([each.logits for each in alone], 1)[0]
        labels = torch.where(torch.arange(sum(LENGTHS)) % 3 == 1, pack["input_ids"], -100)
        found, scored = model(**pack).logits[0], model(**pack, labels=labels)
    scale = expected.abs().max()
    assert (found - expected).abs().max() < 1e-5 * scale
    rows = (torch.nonzero(labels[0] != -100) - 1).flatten()
    assert (scored.logits - expected[rows]).abs().max() < 1e-5 * scale
    loss = torch.nn.functional.cross_entropy(expected[rows], labels[0, rows + 1])
    assert scored.loss.item() == pytest.approx(loss.item(), rel=1e-4)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_go_wrong_over_a_pack_is_refused(nano, kind):
    extra, said = REFUSED[kind]
    with pytest.raises(ModelError, match=said):
        language_model(nano, kind, extra)(**two_examples())


def test_one_that_attends_by_classes_of_its_own_is_refused(nano):
    sizes = {name: size for name, size in SIZES.items() if name != "head_dim"}
    with pytest.raises(ModelError, match="'falcon' language model attends by classes of its own"):
        DeemoLlamaForConditionalGeneration(build_config(replace(nano, llm=TowerConfig(type="falcon", settings=sizes))))


def test_a_padded_batch_with_labels_is_the_sum_of_its_rows(model, processor, loaded):
    model.eval()
    packs = [processor.pack([loaded("a", modalities=("text",), answer=answer)]) for answer in ("positive", "negative")]
    length = max(pack["input_ids"].shape[1] for pack in packs)

    def padded(name: str, fill: int) -> torch.Tensor:
        pad = torch.nn.functional.pad
        return torch.cat([pad(pack[name], (0, length - pack[name].shape[1]), value=fill) for pack in packs])

    ids, labels = padded("input_ids", 0), padded("labels", -100)
    mask = torch.cat([torch.arange(length)[None] < pack["input_ids"].shape[1] for pack in packs])
    together = model(input_ids=ids, labels=labels, attention_mask=mask, num_items_in_batch=1.0)
    alone = [model(**pack, num_items_in_batch=1.0).loss.item() for pack in packs]
    assert together.loss.item() == pytest.approx(sum(alone), rel=1e-4)


def test_layers_that_attend_by_themselves_or_without_their_window_are_found_out(model):
    config = model.config.text_config
    with pytest.raises(ModelError, match="attends in 1 of 3 layers"), over_pack(config):
        note_call(told=True, window=False)
    config.layer_types, config.sliding_window = ["sliding_attention"] * 3, 4
    with pytest.raises(ModelError, match="0 of 3 windows"), over_pack(config):
        for _ in range(3):
            note_call(told=True, window=False)
    with pytest.raises(ModelError, match="cannot be told"):
        check_served(torch.nn.Linear(2, 2), model.config.audio_config)
    with pytest.raises(ModelError, match=r"a convolution over tokens \(1\), which mixes the examples"):
        check_served(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Conv1d(2, 2, 3)), config)
