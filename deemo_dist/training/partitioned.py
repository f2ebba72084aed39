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


def cast_cut(model: nn.Module, dtype: torch.dtype) -> None:
    """Bring the parameters of a model that was cut into the working precision: DeepSpeed casts whole ones alone."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
        if hasattr(parameter, "ds_tensor"):
            parameter.ds_tensor.data = parameter.ds_tensor.data.to(dtype)
