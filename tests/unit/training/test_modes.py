"""Frozen parts in evaluation mode while the rest trains."""

import pytest
import torch
from torch import nn

from deemo_dist.config import TrainRule
from deemo_dist.errors import TrainingError
from deemo_dist.training import apply_rules
from deemo_dist.training.modes import train_mode


class Layer(nn.Module):
    """Like transformers' layers: it recomputes its activations, in training mode alone."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.gradient_checkpointing = True
        self.dropout = dropout
        self.attention = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4), nn.Dropout(0.5), Layer(0.1))
        self.projector = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
        self.language_model = nn.ModuleList([Layer(0.0)])


def test_what_is_frozen_is_in_evaluation_mode_and_still_recomputes():
    net = Net()
    apply_rules(net, {"projector*": TrainRule()})
    train_mode(net)
    before = net.tower[1].running_mean.clone()
    x = torch.randn(2, 3, 5)
    first = net.tower[:3](x)
    assert torch.equal(first, net.tower[:3](x)) and torch.equal(net.tower[1].running_mean, before)
    assert net.training and net.projector[1].training
    assert net.language_model[0].training and not net.language_model[0].attention[1].training
    assert not any(module.training for module in net.tower.modules())
    net.eval()
    train_mode(net)
    assert net.projector.training and not net.tower.training


def test_adapters_on_a_frozen_layer_train_with_their_dropout():
    net = Net()
    apply_rules(net, {"*attention*": TrainRule(mode="lora", rank=1, dropout=0.2)})
    train_mode(net)
    layer = net.language_model[0].attention[0]
    assert layer.lora_dropout["default"].training and not layer.base_layer.training


def test_statistics_over_a_batch_may_not_train():
    with pytest.raises(TrainingError, match=r"tower\.1 takes statistics over a batch") as refused:
        apply_rules(Net(), {"tower*": TrainRule()})
    assert "\n" not in str(refused.value)
    apply_rules(Net(), {"tower*": TrainRule(), "tower.1.*": TrainRule(mode="frozen")})
