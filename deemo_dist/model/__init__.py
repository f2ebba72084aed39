"""DEEMO-LLaMA in transformers' terms. Importing this package registers the Auto classes and the attention function."""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from deemo_dist.model.attention import register as _register_attention
from deemo_dist.model.build import build_config, build_model, build_processor
from deemo_dist.model.configuration import MODEL_TYPE, DeemoLlamaConfig, MediaShape, ProjectorShape
from deemo_dist.model.describe import ModelShape, describe, shape_of
from deemo_dist.model.modeling import DeemoLlamaForConditionalGeneration
from deemo_dist.model.processing import DeemoLlamaProcessor
from deemo_dist.model.scoring import score_choices

_register_attention()
AutoConfig.register(MODEL_TYPE, DeemoLlamaConfig, exist_ok=True)
for _auto in (AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText):
    _auto.register(DeemoLlamaConfig, DeemoLlamaForConditionalGeneration, exist_ok=True)
AutoProcessor.register(DeemoLlamaConfig, DeemoLlamaProcessor, exist_ok=True)

__all__ = [
    "DeemoLlamaConfig",
    "DeemoLlamaForConditionalGeneration",
    "DeemoLlamaProcessor",
    "MediaShape",
    "ModelShape",
    "ProjectorShape",
    "build_config",
    "build_model",
    "build_processor",
    "describe",
    "score_choices",
    "shape_of",
]
