"""An adapted model as a folder: its adapters and all else that is not of a stored base, which it refers to.

config.json                        with ``sources``: where the base's parts come from
model.safetensors                  projectors, always; parts of no source; what trained in full
adapter/adapter_config.json        peft's own format
adapter/adapter_model.safetensors
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from deemo_dist.errors import ModelError
from deemo_dist.model.adapters import ADAPTER, read_adapters
from deemo_dist.model.identity import refuse_other_base, source_digest
from deemo_dist.model.parted import PartedModel
from deemo_dist.model.sources import RANDOM, cast_parameters, load_parts
from deemo_dist.records.adapters import adapted_layer, plain_name

Model = TypeVar("Model", bound=PartedModel)
ADAPTER_FOLDER = "adapter"
ADAPTER_FILE = "adapter_model.safetensors"
REST_FILE = "model.safetensors"
PARTS = {"llm": "language_model.", "vision": "vision_tower.", "audio": "audio_tower."}
_PEFT = "base_model.model."
_UNDERSTOOD = {"config", "dtype", "torch_dtype"}
_OF_NO_MATTER = {
    *("trust_remote_code", "local_files_only", "force_download", "cache_dir", "token", "revision", "proxies"),
    *("use_safetensors", "weights_only", "low_cpu_mem_usage", "_from_auto", "adapter_kwargs"),
}
"""Options of transformers that say how files are had: of a folder they all say the same."""


def holds_adapters(folder: Path) -> bool:
    """Whether ``folder`` was written by ``save_adapted``."""
    return (folder / ADAPTER_FOLDER / "adapter_config.json").is_file()


def save_adapted(model: PartedModel, folder: Path) -> None:
    """Write ``model``, which has adapters, without the parts that its sources give. ``model.trained``: plain names of
    what a training changed in those parts, which goes along."""
    from safetensors.torch import save_file

    adapter = folder / ADAPTER_FOLDER
    adapter.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tensors = _own_tensors(model)
    lora = {name: tensor for name, tensor in tensors.items() if adapted_layer(name)}
    rest = {name: tensor for name, tensor in tensors.items() if name not in lora and not _of_base(model, name)}
    save_file(rest, folder / REST_FILE, metadata={"format": "pt"})
    named = {_PEFT + name.replace(f".{ADAPTER}.", "."): tensor for name, tensor in lora.items()}
    save_file(named, adapter / ADAPTER_FILE, metadata={"format": "pt"})
    model.peft_config[ADAPTER].save_pretrained(str(adapter))


def refuse_options(args: Sequence[Any], options: Mapping[str, Any]) -> None:
    """Raise ``ModelError`` for what may be given to ``from_pretrained`` and is not understood of a folder with
    adapters; what is None or False asks for nothing."""
    asked = {name for name, value in options.items() if value is not None and value is not False}
    strange = [*(f"{value!r}" for value in args), *sorted(asked - _UNDERSTOOD - _OF_NO_MATTER)]
    if strange:
        raise ModelError(
            f"a model with adapters is not loaded with {', '.join(strange)}",
            hint="load it by config and dtype alone, then move it with .to(device); or merge the adapters and store it",
        )


def load_adapted(kind: type[Model], folder: Path, config: Any, dtype: torch.dtype | str | None) -> Model:
    """The model of a folder: its base from the sources, then what the folder holds. ``dtype``: also by its name, or
    ``auto``, that of the stored values; fp32 where it is None.

    Raises ``ModelError`` where the base cannot be had, is another than the adapters were trained over, or where the
    folder and the base do not fit.
    """
    from safetensors.torch import load_file

    config = config if isinstance(config, PreTrainedConfig) else kind.config_class.from_pretrained(config or folder)
    rest = load_file(folder / REST_FILE)
    dtype = _dtype(dtype, rest)
    sources = dict.fromkeys(PARTS, RANDOM) | (config.sources or {})
    _check_base(config.digests or {}, sources)
    with torch.random.fork_rng():
        model = kind(config)
    cast_parameters(model, dtype)
    load_parts(model, sources, dtype)
    read_adapters(model, folder / ADAPTER_FOLDER)
    lora = load_file(folder / ADAPTER_FOLDER / ADAPTER_FILE)
    placed = {_with_adapter(name.removeprefix(_PEFT)): tensor for name, tensor in lora.items()}
    model.trained = frozenset(rest)
    _fill(model, rest | placed)
    if (folder / "generation_config.json").is_file():
        model.generation_config = type(model.generation_config).from_pretrained(folder)
    return model.eval()


def _dtype(asked: torch.dtype | str | None, stored: Mapping[str, Tensor]) -> torch.dtype:
    """The precision of the parameters. Raises ``ModelError`` for a name of none."""
    if asked == "auto":
        return next(tensor.dtype for tensor in stored.values() if tensor.is_floating_point())
    found = getattr(torch, asked.removeprefix("torch."), None) if isinstance(asked, str) else asked or torch.float32
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ModelError(f"'{asked}' is no precision of a model's weights", hint="auto, float32, bfloat16 or float16")
    return found


def _check_base(known: Mapping[str, str], sources: Mapping[str, str]) -> None:
    """Refuse a base whose weights have changed. What is random is in the folder itself."""
    stored = {part: digest for part, digest in known.items() if sources.get(part, RANDOM) != RANDOM}
    now = {part: source_digest(sources[part]) for part in stored}
    hint = "put the weights back that its sources name, or train the adapters again"
    refuse_other_base(stored, now, sources, "the adapted model", hint=hint)


def _with_adapter(name: str) -> str:
    layer = adapted_layer(name)
    assert layer is not None
    return f"{name.removesuffix('.weight')}.{ADAPTER}.weight"


def _own_tensors(model: PartedModel) -> dict[str, Tensor]:
    """Parameters and kept buffers under their plain names, each once."""
    kept = model.state_dict().keys()
    tensors = {**dict(model.named_parameters()), **{n: b for n, b in model.named_buffers() if n in kept}}
    return {plain_name(name): tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _of_base(model: PartedModel, name: str) -> bool:
    """Whether a tensor is as its part's source gives it."""
    sources = model.config.sources or {}
    stored = any(name.startswith(prefix) and sources.get(part, RANDOM) != RANDOM for part, prefix in PARTS.items())
    return stored and name not in model.trained


def _fill(model: PartedModel, tensors: Mapping[str, Tensor]) -> None:
    """Copy ``tensors`` in; everything that the base does not give must be among them."""
    held = {plain_name(name): tensor for name, tensor in model.state_dict(keep_vars=True).items()}
    own = _own_tensors(model)
    lacking = [name for name in own if name not in tensors and not _of_base(model, name)]
    strange = [name for name in tensors if name not in held or held[name].shape != tensors[name].shape]
    if lacking or strange:
        raise ModelError(
            f"the adapters do not fit their base: {'no ' if lacking else 'unlike there, '}{(lacking or strange)[0]}",
            hint="an adapter's folder goes with the sources that its config.json names",
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            held[name].copy_(tensor)
