import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from deemo_dist.errors import ModelError
from deemo_dist.model import build_model, describe, score_choices, shape_of
from deemo_dist.model.describe import PARTS


def mixed(loaded):
    return [
        loaded("a"),
        loaded("b", modalities=("audio", "text"), answer="negative"),
        loaded("c", modalities=("text",), question="short?"),
        loaded("d", modalities=("cues", "video"), audio_seconds=9.0),
    ]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_no_example_of_a_pack_sees_another(model, processor, loaded, training, checkpointing):
    model.train(training)
    if checkpointing:
        model.gradient_checkpointing_enable()
    items = mixed(loaded)
    together = model(**processor.pack(items)).logits
    alone = torch.cat([model(**processor.pack([item])).logits for item in items])
    assert together.shape == alone.shape
    assert torch.allclose(together, alone, atol=2e-5)
    changed = [loaded("other", question="something else altogether"), *items[1:]]
    assert torch.equal(model(**processor.pack(changed)).logits[-3:], together[-3:]) or torch.allclose(
        model(**processor.pack(changed)).logits[-3:], together[-3:], atol=2e-5
    )


def test_gradient_reaches_only_the_own_example(model, processor, loaded):
    items = mixed(loaded)
    pack = processor.pack(items)
    pack["pixel_values"].requires_grad_(True)
    start = int(pack["cu_seqlens"][3])
    pack["labels"][:, :start] = -100
    model(**pack).loss.backward()
    per_clip = pack["pixel_values"].grad.abs().sum(dim=(1, 2, 3, 4))
    assert per_clip[0] == 0.0 and per_clip[1] > 0.0


def test_restarted_positions_alone_are_taken_as_a_pack(model, processor, loaded):
    pack = processor.pack(mixed(loaded))
    expected = model(**pack).loss
    del pack["cu_seqlens"], pack["max_seqlen"]
    assert torch.equal(model(**pack).loss, expected)


def calls_of(model):
    counts = dict.fromkeys(PARTS, 0)
    for part in PARTS:
        target = getattr(model, part)
        target = target.base_model if part == "language_model" else target
        target.register_forward_hook(lambda *_, part=part: counts.__setitem__(part, counts[part] + 1))
    return counts


@pytest.mark.parametrize("shown", [(), ("text",), ("video",), ("audio",), ("cues", "text"), ("video", "audio", "cues")])
def test_every_pack_calls_every_part_once_and_touches_every_parameter(model, processor, loaded, shown):
    counts = calls_of(model)
    pack = processor.null_pack() if not shown else processor.pack([loaded("a", modalities=shown)])
    model(**pack, num_items_in_batch=7.0).loss.backward()
    assert set(counts.values()) == {1}
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    if not shown:
        assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)


def test_null_pack_costs_nothing(model, processor):
    assert model(**processor.null_pack(), num_items_in_batch=5.0).loss.item() == 0.0


def test_loss_is_summed_over_the_given_number(model, processor, loaded):
    model.eval()
    items = mixed(loaded)
    pack = processor.pack(items)
    targets = sum(processor.length_of(item.example).targets for item in items)
    by_itself = model(**pack).loss
    assert model(**pack, num_items_in_batch=targets * 4.0).loss.item() == pytest.approx(by_itself.item() / 4)
    parts = sum(model(**processor.pack([item]), num_items_in_batch=float(targets)).loss.item() for item in items)
    assert parts == pytest.approx(by_itself.item(), rel=1e-5)


def test_batched_generation_with_cache_equals_one_by_one_without(model, processor, loaded):
    model.eval()
    items = mixed(loaded)
    prompt = processor.prompt(items)
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    together = model.generate(**prompt, **options)[:, prompt["input_ids"].shape[1] :]
    for row, item in zip(together, items, strict=True):
        single = processor.prompt([item])
        slow = model.generate(**single, **options, use_cache=False)[0, single["input_ids"].shape[1] :]
        assert row.tolist() == slow.tolist()
    beams = model.generate(**prompt, max_new_tokens=3, num_beams=2, do_sample=False)
    assert len(beams) == len(items)


def test_scores_are_the_likelihood_of_each_answer(model, processor, loaded):
    items, choices = mixed(loaded), ("positive", "negative", "neither of them")
    scores = score_choices(model.train(), processor, items, choices, batch=3)
    assert scores.shape == (4, 3) and scores.dtype == np.float64 and model.training
    for number, choice in enumerate(choices):
        pack = processor.pack([loaded("a", answer=choice)])
        assert scores[0, number] == pytest.approx(-model(**pack, num_items_in_batch=1.0).loss.item(), rel=1e-4)
    with pytest.raises(ModelError, match="choices must be given"):
        score_choices(model, processor, items, ())


def test_saved_model_loads_by_the_auto_classes(model, processor, loaded, tmp_path):
    model.eval()
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(again) is type(model) and type(AutoConfig.from_pretrained(tmp_path)) is type(model.config)
    assert all(torch.equal(p, q) for p, q in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    pack = processor.pack(mixed(loaded))
    assert torch.equal(model(**pack).loss, again(**pack).loss)
    assert (tmp_path / "model.safetensors").is_file() and again.generation_config.eos_token_id is not None
    assert again.generate(**processor.prompt([loaded()]), max_new_tokens=2).shape[0] == 1


def test_a_pack_says_which_positions_predict_so_that_a_gpu_is_not_waited_for(model, processor, loaded, monkeypatch):
    model.eval()
    packs = [processor.pack(mixed(loaded)), processor.null_pack()]
    known = [{name: value for name, value in pack.items() if name != "label_rows"} for pack in packs]
    expected = [model(**pack) for pack in known]
    monkeypatch.setattr(torch, "nonzero", lambda *_: pytest.fail("looked for"))
    for pack, other in zip(packs, expected, strict=True):
        found = model(**pack)
        assert torch.equal(found.loss, other.loss) and torch.equal(found.logits, other.logits)


def test_a_seed_decides_every_weight(nano):
    state = torch.random.get_rng_state()
    first, second, other = (build_model(nano, seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_parameters_are_counted_by_part(model):
    counts = describe(model)
    assert counts["total"].parameters == sum(counts[part].parameters for part in PARTS)
    assert 0.9e6 < counts["total"].parameters < 1.6e6
    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert names == set(PARTS)
    shape = shape_of(model.config)
    assert shape.layers == 3 and shape.video_tokens == 32


def test_wrong_number_of_media_is_refused(model, processor, loaded):
    pack = processor.pack([loaded("a"), loaded("b")])
    pack["pixel_values"], pack["frame_times"] = pack["pixel_values"][:1], pack["frame_times"][:1]
    with pytest.raises(ModelError, match="64 video placeholders"):
        model(**pack)
