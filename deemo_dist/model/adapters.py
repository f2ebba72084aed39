"""Adapters by peft: put into a model, merged into its weights.

Projectors are plain parameters, never peft's ``modules_to_save`` (it copies partitioned tensors).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deemo_dist.errors import ModelError
from deemo_dist.records.adapters import AdapterShape, adapted_layer

ADAPTER = "default"


def add_adapters(model: nn.Module, shapes: Mapping[str, AdapterShape]) -> None:
    """Put adapters into the model, B zero, A from torch's initial seed (the generator is left as it was).

    Works on partitioned weights (zero.Init) too, called outside that context.
    """
    if not shapes:
        return
    from peft import LoraConfig, inject_adapter_in_model

    first = next(iter(shapes.values()))
    config = LoraConfig(
        r=first.rank,
        lora_alpha=first.alpha,  # type: ignore[arg-type] # any number serves
        lora_dropout=first.dropout,
        target_modules=list(shapes),
        rank_pattern={re.escape(name): each.rank for name, each in shapes.items() if each.rank != first.rank},
        alpha_pattern={re.escape(name): each.alpha for name, each in shapes.items() if each.alpha != first.alpha},
    )
    with torch.random.fork_rng():
        torch.manual_seed(torch.initial_seed())
        inject_adapter_in_model(config, model, ADAPTER)
    for name, layer in adapter_layers(model):
        layer.lora_dropout[ADAPTER] = _dropout(shapes[name].dropout)


def read_adapters(model: nn.Module, folder: Path) -> None:
    """Put in the adapters that peft's ``adapter_config.json`` in ``folder`` describes; their weights stay at their
    start. Raises ``ModelError`` where the model has not the layers."""
    from peft import LoraConfig, inject_adapter_in_model

    try:
        with torch.random.fork_rng():
            inject_adapter_in_model(LoraConfig.from_pretrained(str(folder)), model, ADAPTER)
    except ValueError as error:
        line = str(error).splitlines()[0]
        raise ModelError(
            f"the adapters do not fit their base: {line}", hint="look at its adapter_config.json"
        ) from error


def adapter_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Adapted layers by name."""
    return ((name, module) for name, module in model.named_modules() if hasattr(module, "lora_A"))


def is_adapted(model: nn.Module) -> bool:
    """Whether any layer has an adapter."""
    return next(adapter_layers(model), None) is not None


def widen_adapters(model: nn.Module) -> None:
    """Bring the adapters into fp32, in which they are trained, whatever the precision of their layers is."""
    for name, parameter in model.named_parameters():
        if adapted_layer(name) is not None:
            parameter.data = parameter.data.float()


def merge_adapters(model: nn.Module) -> int:
    """Add every adapter to its layer's weight, and take it out; how many there were. The sum is made in fp32, a layer
    at a time, and rounded once to the weight's precision. Raises ``ModelError`` where it is not finite."""
    layers = list(adapter_layers(model))
    for name, layer in layers:
        weight = layer.get_base_layer().weight
        dtype = weight.dtype
        weight.data = weight.data.float()
        try:
            layer.merge(safe_merge=True)
        except ValueError as error:
            raise ModelError(f"the adapter of {name} holds numbers that are not finite", hint="train again") from error
        weight.data = weight.data.to(dtype)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
    return len(layers)


def _dropout(chance: float) -> nn.Module:
    return nn.Dropout(chance) if chance else nn.Identity()
