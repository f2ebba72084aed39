"""Where the weights of a model's parts come from, by name, and how they get into the model.

A source is ``random``, a folder, a GGUF file, a name of the hub, ``weights:NAME`` (pinned) or a URI of a bucket.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from deemo_dist.errors import ModelError
from deemo_dist.model.fetched import fetched
from deemo_dist.model.gguf import is_gguf, unpacked
from deemo_dist.model.parted import PartedModel
from deemo_dist.model.stored import load_stored
from deemo_dist.model.towers import load_tower

RANDOM = "random"
WEIGHTS = "weights:"
URIS = ("s3://", "file://")
WANTED, UNWANTED = ["*.json", "*.safetensors"], ["*/*", "consolidated*"]
"""Files of a repository on the hub: the weights as transformers names them, in no other form."""


def load_parts(model: PartedModel, sources: Mapping[str, str], dtype: torch.dtype) -> None:
    """Stored weights into the parts (``llm vision audio``) that have a source. Raises ``ModelError``."""
    config = model.config
    parts = (
        ("vision", model.vision_tower, lambda path: load_tower(path, config.vision_config, dtype=dtype)),
        ("audio", model.audio_tower, lambda path: load_tower(path, config.audio_config, dtype=dtype)),
        ("llm", model.language_model, lambda path: _load_llm(path, config.text_config.vocab_size, dtype)),
    )
    for name, part, load in parts:
        source = sources[name]
        if source != RANDOM:
            _load_part(part, source, load, dtype)


def _load_part(part: nn.Module, source: str, load: Callable[[str], nn.Module], dtype: torch.dtype) -> None:
    """The source is fetched by whoever reads it, when it does."""
    path = cache(partial(resolved, source))
    whole: Callable[[], nn.Module] = partial(loaded, lambda: load(path()), source)
    load_stored(part, partial(loaded, lambda: folder_of(path()), source), whole, dtype)


def _load_llm(path: str, rows: int, dtype: torch.dtype) -> nn.Module:
    """A language model as transformers loads it, its embeddings and head with ``rows`` rows."""
    model: Any = AutoModelForCausalLM.from_pretrained(path, trust_remote_code=False, dtype=dtype)
    before = model.get_input_embeddings().num_embeddings
    model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for part in (model.get_input_embeddings(), model.get_output_embeddings()):
            part.weight[before:] = part.weight[:before].mean(0)
    return model


def cast_parameters(model: nn.Module, dtype: torch.dtype) -> None:
    """Bring the parameters into ``dtype``; buffers (the frequencies of rotary positions) stay in theirs."""
    for parameter in model.parameters():
        if parameter.is_floating_point() and parameter.dtype != dtype:
            parameter.data = parameter.data.to(dtype)


def resolved(name: str) -> str:
    """Folder or hub name of a source: ``weights:NAME`` and what a URI names are fetched, a GGUF file unpacked, once."""
    path = name
    if name.startswith(WEIGHTS):
        from deemo_dist.weights import fetch

        path = str(fetch(name.removeprefix(WEIGHTS)))
    elif name.startswith(URIS):
        path = str(fetched(name))
    return str(loaded(lambda: unpacked(Path(path)), name)) if is_gguf(Path(path)) else path


def folder_of(path: str) -> Path:
    """Where the files of a source are: itself, or where the hub's cache keeps what this name's safetensors are fetched
    to. A hub that does not answer is left to transformers, which says so."""
    if Path(path).is_dir():
        return Path(path)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(path, allow_patterns=WANTED, ignore_patterns=UNWANTED))
    except (OSError, HFValidationError):
        return Path(path)


def loaded(load: Callable[[], Any], source: str) -> Any:
    """``load()``, its many kinds of failure as one line."""
    try:
        return load()
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"'{source}' cannot be loaded: {line}", hint="a folder, s3://, weights:NAME or a hub name"
        ) from error
