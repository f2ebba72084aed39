"""Which blocks ZeRO-3 gathers whole."""

import torch
from torch import nn

from deemo_dist.training.leaves import mark_leaves


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(width, width), nn.LayerNorm(width)


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 8)
        self.layers = nn.ModuleList([Block(8), Block(8)])
        self.large = nn.ModuleList([Block(64)])
        self.simple = nn.Sequential(nn.Linear(8, 8), nn.ReLU())


def test_repeated_blocks_within_the_limit_are_leaves() -> None:
    model = Tower()
    assert mark_leaves(model, limit=1000) == ["layers.0", "layers.1"]
    assert model.layers[0]._z3_leaf
    assert not hasattr(model.large[0], "_z3_leaf")
    assert not hasattr(model, "_z3_leaf")


def test_a_larger_limit_takes_the_large_block_too() -> None:
    assert mark_leaves(Tower()) == ["layers.0", "layers.1", "large.0"]


def test_what_enters_a_block_that_trains_asks_for_a_gradient() -> None:
    model, value, seen = Tower(), torch.zeros(1, 8), []
    model.layers[1].requires_grad_(False)
    mark_leaves(model, limit=1000)
    for block in model.layers:
        block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].requires_grad))
        block.forward = block.first.forward
        block(value)
    with torch.no_grad():
        model.layers[0](value)
    assert seen == [True, False, False] and not value.requires_grad
