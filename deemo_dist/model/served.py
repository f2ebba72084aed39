"""Which language models of transformers can be trained on packs, and that a pass over one is what it is meant to be.

A model is built for any of them; what mixes tokens by other means than our attention (a convolution, a state that is
carried on) would let an example see the one before it in its pack.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from deemo_dist.errors import ModelError

KINDS = {"full_attention", "sliding_attention"}
HINT = "a decoder of attention alone, such as llama, qwen2, qwen3, mistral or gemma3_text"


@dataclass
class Calls:
    """Of the attention during a pass over a pack: how many, and how many of them with a window."""

    all: int = 0
    windowed: int = 0


_running: ContextVar[Calls | None] = ContextVar("running", default=None)


def check_served(model: nn.Module, config: PreTrainedConfig) -> None:
    """Refuse a causal language model whose layers are not of attention alone, or whose forward pass takes no more than
    it knows of. Raises ``ModelError``."""
    kind = config.model_type
    others = sorted(set(getattr(config, "layer_types", None) or ()) - KINDS)
    if others:
        raise ModelError(f"a '{kind}' language model has layers of {', '.join(others)}", hint=HINT)
    mixing = next((name for name, module in model.named_modules() if isinstance(module, nn.Conv1d)), None)
    if mixing is not None or getattr(model, "_is_stateful", False):
        what = f"a convolution over tokens ({mixing})" if mixing else "a state from token to token"
        raise ModelError(f"a '{kind}' language model has {what}, which mixes the examples of a pack", hint=HINT)
    taken = inspect.signature(type(model).forward).parameters
    if "logits_to_keep" not in taken or not any(each.kind is each.VAR_KEYWORD for each in taken.values()):
        raise ModelError(f"a '{kind}' language model cannot be told where the examples of a pack lie", hint=HINT)


@contextmanager
def over_pack(config: PreTrainedConfig) -> Iterator[None]:
    """Around a language model's pass over a pack. Raises ``ModelError`` where a layer attended by other means than
    ``model.attention``, or without the window that it has."""
    calls = Calls()
    token = _running.set(calls)
    try:
        yield
    finally:
        _running.reset(token)
    layers: Any = config.num_hidden_layers
    windowed = (getattr(config, "layer_types", None) or ()).count("sliding_attention")
    if calls.all < layers or (getattr(config, "sliding_window", None) and calls.windowed < windowed):
        raise ModelError(
            f"a '{config.model_type}' language model attends in {calls.all} of {layers} layers as it is told, "
            f"{calls.windowed} of {windowed} windows kept",
            hint=HINT,
        )


def note_call(*, told: bool, window: bool) -> None:
    """A call of the attention; ``told``: where the examples lie. Raises ``ModelError`` over a pack where it was not."""
    calls = _running.get()
    if calls is None:
        return
    if not told:
        raise ModelError(
            "this language model does not hand on where the examples of a pack lie, they would see one another",
            hint=HINT,
        )
    calls.all += 1
    calls.windowed += window
