"""A partitioned model: what those who read and set its parts need of its engine, and its working precision."""

from typing import Any, Protocol

import torch
from torch import nn

from deemo_dist.config import EngineConfig
from deemo_dist.training.ranks import Ranks
from deemo_dist.training.trainable import Trainable


class Partitioned(Protocol):
    """A model under ZeRO: ``deepspeed`` is DeepSpeed's own engine, ``zero_stage`` how it was cut."""

    deepspeed: Any
    trainable: Trainable
    ranks: Ranks
    zero_stage: int

    @property
    def module(self) -> nn.Module:
        """The model, its parameters partitioned."""


def working(config: EngineConfig) -> torch.dtype:
    """The working precision."""
    return torch.bfloat16 if config.precision == "bf16" else torch.float32


def settle_cut(model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """What DeepSpeed does for whole models alone: parameters into the working precision, buffers onto the device."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
        if hasattr(parameter, "ds_tensor"):
            parameter.ds_tensor.data = _recast(parameter.ds_tensor.data, dtype)
    for buffer in model.buffers():
        buffer.data = buffer.data.to(device)


def _recast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The tensor in ``dtype``; one of the host that a GPU reads by itself (offloaded, pinned) stays such."""
    if tensor.dtype == dtype:
        return tensor
    from deepspeed.accelerator import get_accelerator

    accelerator = get_accelerator()
    pinned = tensor.device.type == "cpu" and accelerator.is_pinned(tensor)
    return accelerator.pin_memory(tensor.to(dtype)) if pinned else tensor.to(dtype)
