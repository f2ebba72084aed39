"""Which layers get an adapter, what trains of an adapted model, and what is refused."""

import pytest
import torch
from torch import nn

from deemo_dist.config import TrainRule
from deemo_dist.errors import ModelError, TrainingError
from deemo_dist.records.adapters import adapted_layer, plain_name
from deemo_dist.training import apply_rules


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.tower = nn.MultiheadAttention(8, 2)
        self.projector = nn.Linear(8, 8)
        self.language_model = nn.ModuleDict({"q_proj": nn.Linear(8, 8), "v_proj": nn.Linear(8, 8, bias=False)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.language_model["v_proj"](torch.tanh(self.language_model["q_proj"](self.projector(x))))


LORA = TrainRule(mode="lora", rank=2, alpha=4.0, lr=1e-3)


def trains(module: nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def test_adapters_train_over_a_frozen_base_beside_a_projector_in_full():
    net = Net()
    x = torch.randn(3, 8)
    before = net(x)
    found = apply_rules(net, {"projector*": TrainRule(lr=1e-2), "language_model*": LORA})
    assert trains(net) == {
        "projector.weight", "projector.bias",
        *(f"language_model.{layer}.lora_{side}.default.weight" for layer in ("q_proj", "v_proj") for side in "AB"),
    }  # fmt: skip
    assert torch.equal(net(x), before)
    assert found.summary() == {"projector*": 72, "language_model*": 64, "trainable": 136, "total": 560}
    assert {group.label: group.lr for group in found.groups} == {"projector*": 1e-2, "language_model*": 1e-3}


def test_the_same_seed_gives_the_same_adapters_and_leaves_the_generator_alone():
    def made() -> dict[str, torch.Tensor]:
        torch.manual_seed(9)
        net = Net()
        torch.manual_seed(5)
        torch.rand(7)
        state = torch.get_rng_state()
        apply_rules(net, {"language_model*": LORA})
        assert torch.equal(torch.get_rng_state(), state)
        return net.state_dict()

    one, two = made(), made()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_targets_narrow_and_a_later_pattern_wins():
    net = Net()
    apply_rules(net, {"*": LORA, "projector*": TrainRule(mode="frozen"), "*v_proj*": TrainRule()})
    assert {adapted_layer(name) or name for name in trains(net)} == {
        "language_model.q_proj",
        "language_model.v_proj.weight",
    }
    net = Net()
    apply_rules(net, {"*": TrainRule(mode="lora", rank=1, targets=("q_proj",))})
    assert {adapted_layer(name) for name in trains(net)} == {"language_model.q_proj"}


def test_a_later_stage_takes_the_adapters_over_and_trains_them_or_not():
    net = Net()
    apply_rules(net, {"projector*": TrainRule()}, before=[{"*q_proj*": LORA}])
    assert trains(net) == {"projector.weight", "projector.bias"}
    net = Net()
    apply_rules(net, {"language_model*": LORA}, before=[{"*q_proj*": LORA}])
    assert {adapted_layer(name) for name in trains(net)} == {"language_model.q_proj", "language_model.v_proj"}
    with pytest.raises(TrainingError, match=r"rank 2.* is to get rank 3"):
        apply_rules(Net(), {"*q_proj*": TrainRule(mode="lora", rank=3)}, before=[{"*q_proj*": LORA}])


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"*": TrainRule(mode="lora", targets=("ear",))}, "matches no linear layer"),
        ({"tower*": TrainRule(mode="lora")}, "matches no linear layer"),
        ({"*bias": TrainRule(mode="lora")}, "matches no linear layer"),
        ({"*nose*": TrainRule(mode="lora")}, "matches no parameter"),
        ({"*": TrainRule(mode="lora", rank=0)}, "has rank 0"),
        ({"*": TrainRule(mode="lora", dropout=1.0)}, "dropout 1"),
    ],
)
def test_what_cannot_be_adapted_is_refused_in_one_line(rules, told):
    with pytest.raises(TrainingError, match=told) as refused:
        apply_rules(Net(), rules)
    assert "\n" not in str(refused.value)


def test_merging_keeps_what_the_model_says_and_refuses_what_is_not_finite():
    from deemo_dist.model.adapters import is_adapted, merge_adapters

    net = Net()
    apply_rules(net, {"language_model*": LORA})
    nn.init.normal_(net.language_model["q_proj"].lora_B["default"].weight)
    x = torch.randn(3, 8)
    before = net(x)
    assert merge_adapters(net) == 2
    assert not is_adapted(net)
    assert set(net.state_dict()) == set(Net().state_dict())
    assert torch.allclose(net(x), before, atol=1e-6)
    apply_rules(net, {"language_model*": LORA})
    nn.init.constant_(net.language_model["q_proj"].lora_B["default"].weight, torch.inf)
    with pytest.raises(ModelError, match=r"q_proj .*not finite"):
        merge_adapters(net)


def test_names():
    assert plain_name("a.q.base_layer.weight") == "a.q.weight"
    assert adapted_layer("a.q.lora_A.default.weight") == "a.q"
    assert adapted_layer("a.q.weight") is None
