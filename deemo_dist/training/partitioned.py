"""A partitioned model: what those who read and set its parts need of its engine, and its working precision."""

from typing import Any, Protocol

import torch
from torch import nn

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


def settle_cut(model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """What DeepSpeed does for whole models alone: parameters into the working precision, buffers onto the device."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
        if hasattr(parameter, "ds_tensor"):
            parameter.ds_tensor.data = parameter.ds_tensor.data.to(dtype)
    for buffer in model.buffers():
        buffer.data = buffer.data.to(device)
