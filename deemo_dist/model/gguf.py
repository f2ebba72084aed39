"""GGUF files as transformers folders: unpacked once, beside the file.

transformers parses a GGUF anew for every configuration, tokenizer and model that it loads from one; of the 98 MB of
SmolLM2-135M that took most of a minute on a busy machine, several times a start.
"""

import fcntl
import shutil
import tempfile
from pathlib import Path
from typing import Any

from deemo_dist.weights.files import digest_of_file

MAGIC = b"GGUF"
WEIGHTS = "model.safetensors"
SOURCE = "gguf.sha256"
"""In the folder: hex SHA-256 of the file that it was unpacked from."""


def is_gguf(path: Path) -> bool:
    """Whether ``path`` is a GGUF file, by its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def unpacked(path: Path) -> Path:
    """The folder with the file's configuration, tokenizer and weights (float32, safetensors), made where it is missing
    or of another file. Of several processes one makes it, the others wait; nothing is written beside the file where
    there is nothing to make. Raises what transformers raises for a file it cannot read."""
    folder = path.with_name(f"{path.name}.transformers")
    digest = digest_of_file(path)
    if _is_of(folder, digest):
        return folder
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_of(folder, digest):
            shutil.rmtree(folder, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
                made = Path(temporary) / "made"
                _unpack(path, made)
                (made / SOURCE).write_text(digest)
                made.rename(folder)
    return folder


def _is_of(folder: Path, digest: str) -> bool:
    """Whether a folder was unpacked from the file with this digest. (Times do not tell: a file is put in the place of
    another with those that it had elsewhere.)"""
    source = folder / SOURCE
    return (folder / WEIGHTS).is_file() and source.is_file() and source.read_text() == digest


def _unpack(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    parent, name = str(path.parent), path.name
    AutoTokenizer.from_pretrained(parent, gguf_file=name, trust_remote_code=False).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(parent, gguf_file=name, trust_remote_code=False, dtype=torch.float32)
    save_whole(model, folder)


def save_whole(model: Any, folder: Path) -> None:
    """Configuration and weights of a model of transformers, by whichever rank is asked: its own ``save_pretrained``
    writes nothing on any but the first. Weights that are tied are stored once."""
    from safetensors.torch import save_file

    stored = model.state_dict().keys()
    kept = dict(model.named_parameters()) | {name: each for name, each in model.named_buffers() if name in stored}
    # the weights are float32 by now, which transformers does not note
    vars(model.config).pop("quantization_config", None)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    if model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
    whole = {name: tensor.detach().contiguous() for name, tensor in kept.items()}
    save_file(whole, folder / WEIGHTS, metadata={"format": "pt"})
