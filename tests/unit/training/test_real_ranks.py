"""The real model on real ZeRO-3 ranks: built in partitions, and with media that only some ranks have."""

import json

import pytest

from tests.unit.training.real import Real

pytestmark = pytest.mark.slow

TRAINS = {"*_projector*": {"lr": 1e-3, "weight_decay": 0.1}, "language_model*": {"lr": 3e-4}}
PROJECTORS = {"*_projector*": {"lr": 1e-3}}


def assert_same(job, other, steps, tolerance):
    mine, theirs = job.losses(), other.losses()
    assert len(mine) == len(theirs) == steps
    assert max(abs(a - b) / abs(b) for a, b in zip(mine, theirs, strict=True)) < tolerance


@pytest.mark.parametrize("towers", [{}, {"vision": "siglip", "audio": "hubert"}])
def test_the_model_built_in_partitions_gives_the_same_losses(ranks, towers):
    """Nano's own towers, BiT and Whisper; and two whose first values reach into their children."""
    plan = {"real": towers, "trains": TRAINS, "steps": 3, "packs": 2}
    whole = ranks(2, "whole", **plan)
    assert whole.codes == [0, 0], whole.output()
    cut = ranks(2, "cut", **plan, partition_at_build=True)
    assert cut.codes == [0, 0], cut.output()
    assert_same(cut, whole, 3, 1e-6)


def test_a_wide_stored_model_takes_less_memory_built_in_partitions(ranks, tmp_path):
    wide = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 10}
    plan = {"trains": PROJECTORS, "steps": 1, "packs": 2}
    Real({"llm": wide}).model().language_model.save_pretrained(tmp_path / "stored")
    real = {"source": str(tmp_path / "stored")}
    whole = ranks(2, "whole", real=real, **plan)
    assert whole.codes == [0, 0], whole.output()
    cut = ranks(2, "cut", real=real, **plan, partition_at_build=True)
    assert cut.codes == [0, 0], cut.output()
    assert_same(cut, whole, 1, 1e-6)
    half = (tmp_path / "stored/model.safetensors").stat().st_size / 2
    for rank in (0, 1):
        assert cut.rows(rank=rank)[0]["built"] < whole.rows(rank=rank)[0]["built"] - 0.4 * half


def test_a_rank_without_sound_beside_one_with_it_does_not_hang(ranks):
    plan = {"real": {"lacking": ["audio"]}, "trains": TRAINS, "steps": 3, "packs": 2}
    both = ranks(2, "both", **plan)
    assert both.codes == [0, 0], both.output()
    alone = ranks(1, "alone", **plan)
    assert alone.codes == [0], alone.output()
    assert_same(both, alone, 3, 1e-5)
    real = Real(plan["real"])
    silent, heard = real.pack(0, 0), real.pack(0, 1)
    assert not silent["input_features"].any() and heard["input_features"].any()


def test_activations_that_are_recomputed_give_the_same_losses_with_every_projector(ranks):
    """As the shipped run for GPUs: gathered again in the backward pass, on ranks of which one has no sound."""
    kinds = {"video": "stc", "audio": "qformer", "cue": "qformer"}
    plan = {"real": {"projectors": kinds, "lacking": ["audio"]}, "trains": TRAINS, "steps": 3, "packs": 2}
    kept = ranks(2, "kept", **plan)
    assert kept.codes == [0, 0], kept.output()
    again = ranks(2, "again", **plan, gradient_checkpointing=True)
    assert again.codes == [0, 0], again.output()
    assert_same(again, kept, 3, 1e-6)


@pytest.mark.parametrize("again", [False, True])
def test_blocks_above_a_frozen_beginning_train_as_they_do_when_no_block_is_gathered_whole(ranks, again):
    """What enters the first block that trains needs no gradient itself."""
    plan = {
        "real": {"vision": "siglip"},
        "trains": {"vision_tower*layers*": {"lr": 1e-3}, "language_model*layers.2.*": {"lr": 1e-3}},
        "steps": 3,
        "packs": 2,
        "gradient_checkpointing": again,
    }
    third = ranks(2, "third", **plan)
    assert third.codes == [0, 0], third.output()
    second = ranks(2, "second", **plan, zero_stage=2)
    assert second.codes == [0, 0], second.output()
    assert_same(third, second, 3, 1e-5)


def test_stored_values_keep_their_precision_in_partitions(ranks, tmp_path):
    """A part's own configuration may say bf16: in a training in fp32 it is cut as fp32."""
    Real({}).model().language_model.save_pretrained(tmp_path / "stored")
    about = tmp_path / "stored/config.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "dtype": "bfloat16"}))
    plan = {"real": {"source": str(tmp_path / "stored")}, "trains": TRAINS, "steps": 2, "packs": 2}
    whole = ranks(2, "whole", **plan)
    assert whole.codes == [0, 0], whole.output()
    cut = ranks(2, "cut", **plan, partition_at_build=True)
    assert cut.codes == [0, 0], cut.output()
    assert_same(cut, whole, 2, 1e-6)
