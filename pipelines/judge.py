"""A trained model at work: how probable it finds each answer, and what it says."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deemo_dist.config import RunConfig
from deemo_dist.environ import gpus
from deemo_dist.errors import ConfigError, ModelError
from deemo_dist.records import LoadedExample
from pipelines.room import memory_available

if TYPE_CHECKING:
    import torch

GIB = 2**30


class Judge:
    """The model in ``folder``, in evaluation mode, with its processor: on this process's first GPU in bf16, else on the
    CPU in fp32. Raises ``ModelError``, before it loads, where there is no memory for it."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        import torch
        from transformers import AutoProcessor
        from transformers.utils.logging import disable_progress_bar

        from deemo_dist.model import DeemoLlamaForConditionalGeneration

        disable_progress_bar()
        torch.manual_seed(config.seed)
        self.max_new_tokens = config.evaluation.max_new_tokens
        self.device = torch.device("cuda", 0) if gpus() else torch.device("cpu")
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        _check_room(folder, self.device, dtype)
        model = DeemoLlamaForConditionalGeneration.from_pretrained(folder, dtype=dtype)
        self.model = model.to(self.device).eval()
        self.processor = AutoProcessor.from_pretrained(folder)

    def score(self, loaded: Sequence[LoadedExample], choices: Sequence[str]) -> np.ndarray:
        """Summed log-likelihood of each choice as the answer: float64 [N, C]."""
        from deemo_dist.model import score_choices

        return score_choices(self.model, self.processor, loaded, choices)

    def say(self, loaded: Sequence[LoadedExample]) -> list[str]:
        """The most probable text, token by token, for each example."""
        batch = {name: value.to(self.device) for name, value in self.processor.prompt(loaded).items()}
        tokens = self.model.generate(**batch, max_new_tokens=self.max_new_tokens, do_sample=False)
        fresh = tokens[:, batch["input_ids"].shape[1] :]
        texts: list[str] = self.processor.tokenizer.batch_decode(fresh, skip_special_tokens=True)
        return [text.strip() for text in texts]


def _check_room(folder: Path, device: "torch.device", dtype: "torch.dtype") -> None:
    """Refuse a model whose weights alone are more than the device has free."""
    needed, free = _bytes_of(folder, dtype), _free(device)
    if needed > free:
        where = "on the GPU" if device.type == "cuda" else "in this machine's memory"
        raise ModelError(
            f"the model in {folder} takes {needed / GIB:.2f} GiB in {str(dtype).removeprefix('torch.')}, "
            f"{free / GIB:.2f} are free {where}",
            hint="a GPU that holds it whole; on one shared with others, wait for them",
        )


def _bytes_of(folder: Path, dtype: "torch.dtype") -> int:
    """Of the weights in ``dtype``, counted on a model without values."""
    import torch

    from deemo_dist.model import DeemoLlamaConfig, DeemoLlamaForConditionalGeneration

    with torch.device("meta"):
        empty = DeemoLlamaForConditionalGeneration(DeemoLlamaConfig.from_pretrained(folder))
    return sum(parameter.numel() for parameter in empty.parameters()) * dtype.itemsize


def _free(device: "torch.device") -> int:
    import torch

    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else memory_available()


def choices_of(config: RunConfig) -> tuple[str, ...]:
    """The answers of the task that is judged. Raises ``ConfigError`` where it has no closed set of them."""
    task = config.tasks.get(config.evaluation.task)
    if task is None or not task.choices:
        raise ConfigError(
            f"evaluation.task is '{config.evaluation.task}', which is no task with choices",
            hint=f"one of: {', '.join(name for name, task in config.tasks.items() if task.choices)}",
        )
    return task.choices
