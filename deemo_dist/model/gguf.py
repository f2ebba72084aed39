"""GGUF files as transformers folders: unpacked once, beside the file.

transformers parses a GGUF anew for every configuration, tokenizer and model that it loads from one; of the 98 MB of
SmolLM2-135M that took most of a minute on a busy machine, several times a start.
"""

import fcntl
import tempfile
from pathlib import Path

MAGIC = b"GGUF"


def is_gguf(path: Path) -> bool:
    """Whether ``path`` is a GGUF file, by its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def unpacked(path: Path) -> Path:
    """The folder with the file's configuration, tokenizer and weights (float32, safetensors), made where it is missing.
    Of several processes one makes it, the others wait. Raises what transformers raises for a file it cannot read."""
    folder = path.with_name(f"{path.name}.transformers")
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
                made = Path(temporary) / "made"
                _unpack(path, made)
                made.rename(folder)
    return folder


def _unpack(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    parent, name = str(path.parent), path.name
    AutoTokenizer.from_pretrained(parent, gguf_file=name, trust_remote_code=False).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(parent, gguf_file=name, trust_remote_code=False, dtype=torch.float32)
    vars(model).pop("hf_quantizer", None)  # the weights are float32 by now, which transformers does not note
    vars(model.config).pop("quantization_config", None)
    model.save_pretrained(folder)
