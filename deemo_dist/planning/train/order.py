"""In which order a model's modules run for a batch, found without computing anything.

ZeRO-3 gathers a module's parameters when it is entered and reduces a gradient when it is there: ranks whose modules run
in different orders wait for one another for ever (DeepSpeed issues 2223 and 7170). A batch's order is a function of the
batch alone, so like orders of all packs of a plan, null packs included, are like orders on any number of ranks.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

import torch
from torch import nn

from deemo_dist.planning.train.symbolic import Symbolic, to_meta

IGNORED = -100
KEPT = ("cu_seqlens",)
"""Inputs that stay as they are: lengths, which the host reads."""


def module_order(model: nn.Module, batch: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the modules with parameters as a forward pass over ``batch`` enters them, then of the parameters as a
    backward pass finishes their gradients. ``model`` is on the meta device; the batch may have values or not.

    Raises ``ModelError`` where what runs depends on a tensor's values.
    """
    seen: list[str] = []
    labels = batch["labels"]
    count = int((labels != IGNORED).sum()) if not labels.is_meta else labels.numel()
    given = {name: value if name in KEPT else to_meta(value) for name, value in batch.items()}
    with _watched(model, seen), Symbolic(max(1, count)):
        loss = model(**given, num_items_in_batch=1.0).loss
        if loss.requires_grad:
            loss.backward()
    model.zero_grad(set_to_none=True)
    return tuple(seen)


@contextmanager
def _watched(model: nn.Module, seen: list[str]) -> Iterator[None]:
    """Note every module with parameters of its own, and every finished gradient."""
    handles: list[Any] = []
    for name, module in model.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            handles.append(module.register_forward_pre_hook(lambda *_, name=name: seen.append(name)))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            handles.append(parameter.register_post_accumulate_grad_hook(lambda _, name=name: seen.append(f"~{name}")))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def parting(orders: Sequence[tuple[str, ...]]) -> str | None:
    """Where the orders part first, in words; None where they are one."""
    for order in orders[1:]:
        for place, (first, other) in enumerate(zip_longest(orders[0], order, fillvalue="nothing more")):
            if first != other:
                return f"call {place + 1} is {_said(first)} for one pack and {_said(other)} for another"
    return None


def _said(name: str) -> str:
    return f"the gradient of {name[1:]}" if name.startswith("~") else name


def signature(batch: Mapping[str, Any]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The shapes of a batch: batches of the same shapes run alike."""
    return tuple((name, tuple(value.shape)) for name, value in sorted(batch.items()) if isinstance(value, torch.Tensor))
