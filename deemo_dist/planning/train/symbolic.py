"""Running a model without data: tensors on PyTorch's meta device have shapes and no values, so a pass of a 70B model
takes seconds and no memory.

What a value would decide is answered here: how many labels a pack has is told beforehand, attention is a stand-in with
a fused kernel's cost, and a branch on a tensor's value is refused, except transformers' search for packs, whose answer
our attention does not use.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from deemo_dist.errors import ModelError

SDPA = torch.nn.functional.scaled_dot_product_attention
HARMLESS = ("transformers.masking_utils",)
META = torch.device("meta")


@dataclass
class Scores:
    """Operations of attention's two products over one pass: 4 * heads * queries * keys * width forward, without a
    discount for a causal mask (the convention of the published figures); ``backward`` where gradients flow, twice
    that."""

    forward: float = 0.0
    backward: float = 0.0


class _FusedAttention(torch.autograd.Function):
    """Shapes and kept tensors of a flash-attention kernel: query, key, value, output and a row of sums; no square of
    scores."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, sums)
        ctx.scores, ctx.operations = scores, _operations(query, key, value)
        scores.forward += ctx.operations
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        query, key, value, _, _ = ctx.saved_tensors
        ctx.scores.backward += 2 * ctx.operations
        return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape), None


def _operations(query: Tensor, key: Tensor, value: Tensor) -> float:
    """2 * (scores + weighted sum): query [..., H, T, D], key and value [..., Hk, S, D]."""
    rows = query.numel() // query.shape[-1]
    return 2.0 * rows * key.shape[-2] * (query.shape[-1] + value.shape[-1])


class Symbolic(TorchFunctionMode):
    """While this is entered, meta tensors run through a model's own code. ``labels``: how many positions
    ``torch.nonzero`` finds, which only the loss asks."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.labels = labels
        self.scores = Scores()

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not (args and isinstance(args[0], Tensor) and args[0].is_meta):
            return function(*args, **kwargs)
        if function is SDPA:
            return _FusedAttention.apply(*args[:3], self.scores)
        if function in (torch.nonzero, Tensor.nonzero):
            return torch.empty(self.labels, args[0].dim(), dtype=torch.long, device=META)
        if function in (Tensor.__bool__, Tensor.item, Tensor.tolist, Tensor.__int__, Tensor.__float__):
            return _asked_for_a_value()
        return function(*args, **kwargs)


def _asked_for_a_value() -> bool:
    """True to those who may ask, else ``ModelError`` naming the place in the model."""
    frame = sys._getframe(2)
    name = frame.f_globals.get("__name__", "?")
    if name in HARMLESS:
        return True
    raise ModelError(
        f"{name}, line {frame.f_lineno}: what is computed depends on a tensor's value, so ranks could part ways",
        hint="make it depend on shapes alone",
    )


def to_meta(value: Any) -> Any:
    """A tensor as one without data; anything else as it is."""
    return value.to(META) if isinstance(value, Tensor) else value
