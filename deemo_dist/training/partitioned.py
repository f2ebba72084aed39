"""What those who read and set the parts of a partitioned model need of its engine."""

from typing import Any, Protocol

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
