"""Counting on the modules: against runs with values, and against formulas."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from deemo_dist.config import ModelConfig, TowerConfig, TrainRule, load
from deemo_dist.errors import ModelError
from deemo_dist.model import build_model, build_processor
from deemo_dist.planning.train.order import module_order, parting
from deemo_dist.planning.train.sizes import KNOWN, empty_model
from deemo_dist.planning.train.symbolic import META, Symbolic
from deemo_dist.planning.train.trace import Costs, measure
from deemo_dist.planning.train.work import Pack, cost, largest, mean, model_flops
from deemo_dist.training import apply_rules


@pytest.fixture(scope="module")
def nano() -> ModelConfig:
    return load("demo", []).model


def costs_of(config: ModelConfig, *patterns: str) -> Costs:
    model = empty_model(config, precision="fp32").train()
    apply_rules(model, {pattern: TrainRule() for pattern in patterns})
    return measure(model)


def test_operations_of_a_real_pass_are_those_counted_without_values(nano: ModelConfig) -> None:
    """A pack with values through the real model under torch's counter, attention counted by segment beside it."""
    model = build_model(nano, 0).train()
    media = model.config.media_shape
    segments, labels = (40, 24), 10
    total = sum(segments)
    ids = torch.randint(200, 300, (1, total))
    marks = torch.full((1, total), -100)
    marks[0, 1 : labels + 1] = 7
    bounds = torch.tensor([0, *segments]).cumsum(0).to(torch.int32)
    batch = {
        "input_ids": ids.clamp(max=model.config.text_config.vocab_size - 1),
        "labels": marks,
        "position_ids": torch.cat([torch.arange(length) for length in segments])[None],
        "cu_seqlens": bounds,
        "max_seqlen": max(segments),
        "pixel_values": torch.zeros(2, media.frames, 3, media.image_size, media.image_size),
        "frame_times": torch.zeros(2, media.frames),
        "input_features": torch.zeros(3, *media.null_audio_shape()),
        "audio_starts": torch.zeros(3),
        "cue_values": torch.zeros(1, media.cue_frames, media.cue_keypoints, 3),
        "cue_times": torch.zeros(1, media.cue_frames),
    }
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # it knows no other CPU kernel
        model(**batch, num_items_in_batch=1.0)
    pack = Pack.of(segments, labels=labels, clips=2, windows=3, cues=1)
    costs = costs_of(nano, "*")
    found = cost(pack, costs).forward
    assert found == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert model_flops(pack, costs) == pytest.approx(cost(pack, costs).forward + cost(pack, costs).backward)


def test_frozen_parts_cost_no_gradients(nano: ModelConfig) -> None:
    whole, projectors, audio = (costs_of(nano, pattern) for pattern in ("*", "*projector*", "*audio*"))
    assert whole.token.backward == pytest.approx(2 * whole.token.forward)
    assert projectors.token.backward == pytest.approx(whole.token.forward)
    assert projectors.clip.backward < 0.3 * whole.clip.backward and projectors.clip.saved < 0.3 * whole.clip.saved
    assert audio.clip.backward == 0.0 and audio.clip.saved == 0.0 and audio.window.backward > 0
    head = costs_of(nano, "*lm_head*")
    assert head.token.backward == 0.0 == head.pair.backward and head.token.saved == 0.0 and head.label.backward > 0


def test_checkpointing_keeps_less_and_computes_the_layers_again(nano: ModelConfig) -> None:
    costs = costs_of(nano, "*")
    assert costs.token.saved_checkpointed < 0.2 * costs.token.saved
    assert costs.token.recompute == pytest.approx(costs.token.forward)
    assert costs.clip.recompute == 0.0  # this tower cannot


def test_kept_bytes_are_those_that_autograd_keeps(nano: ModelConfig) -> None:
    """The language model with values: what its graph holds, beside attention, which differs by kernel."""
    model = build_model(nano, 0).train()
    length, kept = 256, {}
    held = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    embeds = torch.randn(1, length, model.config.text_config.hidden_size, requires_grad=True)
    bounds = torch.tensor([0, length // 2, length], dtype=torch.int32)
    lengths = {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": length // 2}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = model.language_model.base_model(inputs_embeds=embeds, use_cache=False, **lengths).last_hidden_state
    planned = costs_of(nano, "*").token.saved * length
    assert out.requires_grad and planned == pytest.approx(sum(kept.values()), rel=0.25)


def test_a_billion_parameters_are_counted_exactly_and_without_memory() -> None:
    llm = TowerConfig(source="Qwen/Qwen2.5-7B-Instruct")
    model = empty_model(replace(load("demo", []).model, llm=llm, tokenizer=llm.source))
    assert sum(each.numel() for each in model.language_model.parameters()) == 7_615_616_512  # as its model card says
    assert all(each.is_meta for each in model.parameters()) and "Qwen/Qwen2.5-72B-Instruct" in KNOWN


def test_what_asks_for_a_value_is_named() -> None:
    with Symbolic(1), pytest.raises(ModelError, match=r"test_trace, line \d+: what is computed depends on"):
        bool(torch.ones(1, device=META) > 0)
    with Symbolic(3):
        assert torch.nonzero(torch.ones(8, 2, device=META)).shape == (3, 2)


def test_order_of_modules_is_that_of_a_real_pass(nano: ModelConfig) -> None:
    batch = build_processor(nano).null_pack()
    empty = empty_model(nano, precision="fp32").train()
    apply_rules(empty, {"*projector*": TrainRule()})
    symbolic = module_order(empty, batch)
    real: list[str] = []
    model = build_model(nano, 0)
    for name, module in model.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            module.register_forward_pre_hook(lambda *_, name=name: real.append(name))
    model(**batch, num_items_in_batch=1.0)
    assert [name for name in symbolic if not name.startswith("~")] == real
    trained = {name for name, each in empty.named_parameters() if each.requires_grad}
    assert {name[1:] for name in symbolic if name.startswith("~")} == trained


def test_where_orders_part() -> None:
    assert parting([("a", "b"), ("a", "b")]) is None
    assert parting([("a", "b"), ("a", "c")]) == "call 2 is b for one pack and c for another"
    assert parting([("a", "~b"), ("a",)]) == "call 2 is the gradient of b for one pack and nothing more for another"


def test_mean_and_largest_packs() -> None:
    packs = [Pack.of([3, 4], labels=2, clips=1, windows=0, cues=1), Pack.of([5], labels=4, clips=0, windows=2, cues=0)]
    assert mean(packs) == Pack(tokens=6.0, pairs=25.0, labels=3.0, clips=0.5, windows=1.0, cues=0.5, samples=1.5)
    assert largest(packs) == Pack(tokens=7, pairs=25, labels=4, clips=1, windows=2, cues=1, samples=2)
