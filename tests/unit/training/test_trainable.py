import pytest
from torch import nn

from deemo_dist.config import TrainRule
from deemo_dist.errors import TrainingError
from deemo_dist.training import apply_rules


def model() -> nn.Module:
    return nn.ModuleDict(
        {
            "vision_tower": nn.Linear(4, 3),
            "video_projector": nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5)),
            "language_model": nn.Linear(5, 7),
        }
    )


def trains(module: nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def test_no_match_is_frozen_and_each_pattern_keeps_its_rate():
    module = model()
    found = apply_rules(module, {"*projector*": TrainRule(lr=1e-2), "language_model.*": TrainRule(lr=1e-4)})
    assert trains(module) == {name for name, _ in module.named_parameters() if not name.startswith("vision")}
    assert [(group.label, group.lr) for group in found.groups] == [("*projector*", 1e-2), ("language_model.*", 1e-4)]
    assert found.counts == {"*projector*": 30, "language_model.*": 42}
    assert found.summary()["total"] == 30 + 42 + 15


def test_the_last_match_wins():
    module = model()
    apply_rules(module, {"*": TrainRule(), "vision_tower*": TrainRule(mode="frozen")})
    assert not any(name.startswith("vision") for name in trains(module))
    apply_rules(module, {"vision_tower*": TrainRule(mode="frozen"), "*": TrainRule()})
    assert "vision_tower.weight" in trains(module)


def test_vectors_are_not_decayed():
    found = apply_rules(model(), {"*projector*": TrainRule(weight_decay=0.1)})
    decayed, plain = found.groups
    assert (decayed.weight_decay, plain.weight_decay) == (0.1, 0.0)
    assert decayed.names == ("video_projector.0.weight",)
    assert all(name.endswith(("bias", "1.weight")) for name in plain.names)


def test_every_trained_parameter_is_in_exactly_one_group():
    module = model()
    found = apply_rules(module, {"*": TrainRule(weight_decay=0.1), "*bias": TrainRule(lr=1.0)})
    names = [name for group in found.groups for name in group.names]
    assert len(names) == len(set(names)) and set(names) == trains(module)


def test_a_pattern_that_matches_nothing_is_refused_with_the_parts():
    with pytest.raises(TrainingError, match=r"\*audio_projector\*.*language_model, video_projector, vision_tower"):
        apply_rules(model(), {"*": TrainRule(), "*audio_projector*": TrainRule()})


@pytest.mark.parametrize("rules", [{}, {"*": TrainRule(mode="frozen")}])
def test_nothing_to_train_is_refused(rules):
    with pytest.raises(TrainingError, match="nothing would train"):
        apply_rules(model(), rules)


def test_what_its_own_class_keeps_fixed_trains_under_its_very_name_alone():
    module = model()
    module["vision_tower"].bias.requires_grad_(False)
    found = apply_rules(module, {"vision_tower*": TrainRule()})
    assert trains(module) == {"vision_tower.weight"} and found.trainable == 12
    apply_rules(module, {"video_projector*": TrainRule()})
    apply_rules(module, {"*": TrainRule()})
    assert "vision_tower.weight" in trains(module) and "vision_tower.bias" not in trains(module)
    apply_rules(module, {"vision_tower.bias": TrainRule()})
    assert trains(module) == {"vision_tower.bias"}


def test_the_sinusoids_of_whisper_stay_fixed():
    from tests.unit.training.real import Real

    module = Real({}).model()
    apply_rules(module, {"audio_tower*": TrainRule()})
    assert "audio_tower.conv1.weight" in trains(module) and "audio_tower.embed_positions.weight" not in trains(module)
