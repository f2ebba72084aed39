"""What a model of parts has, for those who fill its parts from sources or store it without them.

The model calls these itself (``modeling``); they know it by this class alone.
"""

from torch import nn
from transformers import PreTrainedModel

from deemo_dist.model.configuration import DeemoLlamaConfig


class PartedModel(PreTrainedModel):
    """``vision_tower``, ``audio_tower``, ``language_model``: parts that can have a source; ``trained``: plain names of
    the tensors in such parts that a training has changed."""

    config: DeemoLlamaConfig
    config_class = DeemoLlamaConfig
    vision_tower: nn.Module
    audio_tower: nn.Module
    language_model: PreTrainedModel
    trained: frozenset[str]
