"""ZeRO-3 leaves: blocks whose parameters are gathered at once, not one submodule after another.

DeepSpeed hooks every submodule; a tower of a hundred tiny ones then spends its time in hooks and collectives of a few
kilobytes. A leaf is gathered, used and released whole, so it must be called whole, return plain tensors (its hooks see
no others), and be small beside the memory: the repeated blocks of towers and language models are.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from deemo_dist.training.trainable import size_of

LEAF = 4_000_000
"""Parameters of a leaf at most: 16 MB in fp32."""


def mark_leaves(model: nn.Module, limit: int = LEAF) -> list[str]:
    """Mark the topmost repeated blocks (items of a ``ModuleList`` or ``Sequential``) of at most ``limit`` parameters,
    and of more than one module with parameters, as leaves; their names. To be called when it is set what trains."""
    from deepspeed.utils.z3_leaf_module import set_z3_leaf_module

    found = list(_blocks(model, "", limit))
    for _, module in found:
        set_z3_leaf_module(module, True)
        if any(parameter.requires_grad for parameter in module.parameters()):
            module.register_forward_pre_hook(_with_gradient)
    return [name for name, _ in found]


def _with_gradient(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Inputs that ask for a gradient: DeepSpeed lets a leaf's parameters go when its input's gradient has come, and
    without one while they are still needed."""
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    if not torch.is_grad_enabled() or any(value.requires_grad for value in tensors):
        return None
    first = next((value for value in tensors if value.is_floating_point()), None)
    if first is None:
        return None
    return tuple(value.detach().requires_grad_() if value is first else value for value in inputs)


def _blocks(module: nn.Module, name: str, limit: int) -> Iterator[tuple[str, nn.Module]]:
    repeated = isinstance(module, nn.ModuleList | nn.Sequential)
    for child_name, child in module.named_children():
        path = f"{name}.{child_name}" if name else child_name
        if repeated and _is_block(child) and sum(size_of(parameter) for parameter in child.parameters()) <= limit:
            yield path, child
        else:
            yield from _blocks(child, path, limit)


def _is_block(module: nn.Module) -> bool:
    holders = sum(any(True for _ in part.parameters(recurse=False)) for part in module.modules())
    return holders > 1 and not isinstance(module, nn.ModuleList | nn.ModuleDict)
