"""This rank's share of a ZeRO optimizer: where DeepSpeed keeps it, and how to read and set it."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from deemo_dist.training.checkpoint.layout import Fragment, partition
from deemo_dist.training.checkpoint.snapshot import LocalFragment
from deemo_dist.training.partitioned import Partitioned
from deemo_dist.training.swap.optimizer import SubGroup, sub_group_of
from deemo_dist.training.trainable import shape_of, size_of


def local_fragments(engine: Partitioned) -> list[LocalFragment]:
    """Fragments in the order of the optimizer's groups; those without an element on this rank are left out."""
    parameters = dict(engine.module.named_parameters())
    make = _stage3 if engine.zero_stage == 3 else _stage12
    found = [
        make(engine, name, parameters[name], number)
        for number, group in enumerate(engine.trainable.groups)
        for name in group.names
    ]
    return [local for local in found if local is not None]


def _stage3(engine: Partitioned, name: str, parameter: nn.Parameter, group: int) -> LocalFragment | None:
    """ZeRO-3 cuts each parameter evenly; its local tensors carry padding behind the last element."""
    from deepspeed.utils import (
        safe_get_local_fp32_param,
        safe_get_local_optimizer_state,
        safe_set_local_fp32_param,
        safe_set_local_optimizer_state,
    )

    if engine.deepspeed.optimizer.swap_optimizer:
        return _swapped(engine, name, parameter, group)
    offset, count = partition(size_of(parameter), engine.ranks.world, engine.ranks.rank)

    def whole(kind: str) -> torch.Tensor:
        if kind == "fp32":
            return safe_get_local_fp32_param(parameter).detach()
        return safe_get_local_optimizer_state(parameter, kind).detach()

    def write(kind: str, tensor: torch.Tensor) -> None:
        padded = whole(kind).clone()
        padded[:count] = tensor
        if kind == "fp32":
            safe_set_local_fp32_param(parameter, padded)
        else:
            safe_set_local_optimizer_state(parameter, padded, kind)

    if not count:
        return None
    fragment = Fragment(name=name, offset=offset, numel=count, shape=shape_of(parameter), group=group)
    return LocalFragment(fragment=fragment, read=lambda kind: whole(kind)[:count], write=write)


def _swapped(engine: Partitioned, name: str, parameter: nn.Parameter, group: int) -> LocalFragment | None:
    """As ``_stage3``, of an optimizer on a disk: read and written while its sub-group is in memory."""
    optimizer = engine.deepspeed.optimizer
    offset, count = partition(size_of(parameter), engine.ranks.world, engine.ranks.rank)
    sub_group, start = sub_group_of(optimizer, parameter)
    flat = optimizer.fp32_partitioned_groups_flat[sub_group.number]

    def view(kind: str) -> torch.Tensor:
        tensor = flat if kind == "fp32" else optimizer.optimizer.state[flat][kind]
        return tensor.detach().narrow(0, start, count)

    def write(kind: str, tensor: torch.Tensor) -> None:
        view(kind).copy_(tensor)

    if not count:
        return None
    fragment = Fragment(name=name, offset=offset, numel=count, shape=shape_of(parameter), group=group)
    return LocalFragment(fragment=fragment, read=view, write=write, opened=sub_group.opened)


def _stage12(engine: Partitioned, name: str, parameter: nn.Parameter, group: int) -> LocalFragment | None:
    """ZeRO-1 and 2 cut the flat concatenation of a group: a rank has any range of a parameter, or none."""
    mapping = getattr(parameter, "_hp_mapping", None)
    if mapping is None:
        return None
    low, high = mapping.lp_fragment_address, mapping.hp_fragment_address
    optimizer = engine.deepspeed.optimizer
    flat = optimizer.single_partition_of_fp32_groups[group]

    def view(kind: str) -> torch.Tensor:
        tensor = flat if kind == "fp32" else optimizer.optimizer.state[flat][kind]
        return tensor.detach().narrow(0, high.start, high.numel)

    def write(kind: str, tensor: torch.Tensor) -> None:
        view(kind).copy_(tensor)

    fragment = Fragment(name=name, offset=low.start, numel=low.numel, shape=shape_of(parameter), group=group)
    return LocalFragment(fragment=fragment, read=view, write=write)


def adam_states(optimizer: Any, updates: int) -> None:
    """Make Adam's state of every flat partition exist, and set its count of updates (it is lazy before the first)."""
    inner = optimizer.optimizer
    of_torch = isinstance(inner, torch.optim.AdamW)
    for number, flat in enumerate(_flat_partitions(optimizer)):
        state = inner.state[flat]
        state["step"] = torch.tensor(float(updates), dtype=torch.float32) if of_torch else updates
        missing = [kind for kind in ("exp_avg", "exp_avg_sq") if kind not in state]
        if not missing:
            continue
        with _opened(optimizer, number, write=True):
            for kind in missing:
                state[kind] = torch.zeros_like(flat.data)


def _opened(optimizer: Any, number: int, *, write: bool) -> AbstractContextManager[None]:
    """The ``number``-th flat partition and its state in memory."""
    swaps = getattr(optimizer, "swap_optimizer", False)
    return SubGroup(optimizer, number).opened(write) if swaps else nullcontext()


def refresh(optimizer: Any, zero_stage: int) -> None:
    """Copy the fp32 partitions into the working ones, as the end of an update does: DeepSpeed's setters leave them
    stale, and parameters that stay gathered keep their old values."""
    if zero_stage != 3:
        optimizer.update_lp_params()
        return
    optimizer._partition_all_parameters()
    for number in range(len(optimizer.fp16_groups)):
        with _opened(optimizer, number, write=False):
            optimizer._reassign_or_swap_out_partitioned_parameters(number)
    persistent = optimizer.persistent_parameters
    if persistent:
        persistent[0].all_gather(persistent)
    optimizer.invalidate_secondary_tensor()


def _flat_partitions(optimizer: Any) -> Iterable[torch.Tensor]:
    if hasattr(optimizer, "fp32_partitioned_groups_flat"):
        return tuple(optimizer.fp32_partitioned_groups_flat)
    return tuple(optimizer.single_partition_of_fp32_groups)
