"""Low-rank adapters (LoRA, arXiv 2106.09685) in names: the shape of one, and which parameter is whose.

An adapted linear layer keeps its weight as ``NAME.base_layer.weight`` and trains ``NAME.lora_A`` [rank, in] and
``NAME.lora_B`` [out, rank] (peft's names); ``plain_name`` takes ``base_layer`` out again, so that stages before and
after an adapter speak of the same parameters.
"""

import re
from dataclasses import dataclass

_BASE = ".base_layer."
_LORA = re.compile(r"\.lora_[AB]\.")


@dataclass(frozen=True, kw_only=True)
class AdapterShape:
    """One layer's adapter: W x + alpha / rank * B A dropout(x)."""

    rank: int
    alpha: float
    dropout: float


def plain_name(name: str) -> str:
    """The name that a base parameter has without its adapter."""
    return name.replace(_BASE, ".")


def adapted_layer(name: str) -> str | None:
    """The layer that an adapter's parameter belongs to; None for any other parameter."""
    found = _LORA.search(name)
    return name[: found.start()] if found else None
