"""Whole tensors: gathered from the ranks for an export, and loaded into a model before it is partitioned."""

from collections.abc import Mapping

import torch
from torch import nn

from deemo_dist.errors import ModelError
from deemo_dist.records.adapters import plain_name
from deemo_dist.training.partitioned import Partitioned
from deemo_dist.training.ranks import import_deepspeed
from deemo_dist.training.trainable import shape_of


def consolidated_state(engine: Partitioned) -> dict[str, torch.Tensor] | None:
    """The whole state dict on rank 0 (CPU; trained parameters in float32 from the master weights, frozen ones as they
    are, persistent buffers), None on other ranks. A collective, one parameter at a time.

    A parameter under several names is one tensor under each of them, so that ``save_pretrained`` writes it once.
    """
    first = engine.ranks.rank == 0
    gathered: dict[int, torch.Tensor] = {}
    for parameter in engine.module.parameters():
        whole = _gathered(engine, parameter, keep=first)
        if whole is not None:
            gathered[id(parameter)] = whole
    if not first:
        return None
    state = {
        name: gathered[id(parameter)] for name, parameter in engine.module.named_parameters(remove_duplicate=False)
    }
    buffers = dict(engine.module.named_buffers(remove_duplicate=False))
    persistent = engine.module.state_dict(keep_vars=True).keys()
    return {**state, **{name: buffer.detach().cpu() for name, buffer in buffers.items() if name in persistent}}


def _gathered(engine: Partitioned, parameter: nn.Parameter, *, keep: bool) -> torch.Tensor | None:
    """One whole parameter on the CPU. Every rank takes part; only those with ``keep`` copy it."""
    from deepspeed.utils import safe_get_full_fp32_param

    if parameter.requires_grad:
        full = safe_get_full_fp32_param(parameter)
        return full.detach().cpu().clone() if keep else None
    with import_deepspeed().zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
        return parameter.detach().cpu().clone() if keep else None


def load_full_state(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Copy whole tensors into the model's parameters and buffers, partitioned (zero.Init) or not; others stay. A weight
    under an adapter goes by the name that it has without.

    Raises ``ModelError`` for a name that the model does not have, or another shape.
    """
    held = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    targets: dict[str, torch.Tensor] = {plain_name(name): tensor for name, tensor in held.items()}
    state = {plain_name(name): tensor for name, tensor in state.items()}
    for name, tensor in state.items():
        target = targets.get(name)
        if target is None:
            raise ModelError(f"the model has no parameter '{name}'", hint="the state belongs to another model")
        shape = shape_of(target) if isinstance(target, nn.Parameter) else tuple(target.shape)
        if tuple(tensor.shape) != shape:
            raise ModelError(f"'{name}' has shape {tuple(tensor.shape)}, the model wants {shape}")
    with torch.no_grad():
        for name, tensor in state.items():
            _load_one(targets[name], tensor)


def _load_one(target: torch.Tensor, tensor: torch.Tensor) -> None:
    if not hasattr(target, "ds_id"):
        target.copy_(tensor)
        return
    with import_deepspeed().zero.GatheredParameters([target], modifier_rank=0):
        target.copy_(tensor)
