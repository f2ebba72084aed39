"""A trained model at work: how probable it finds each answer, and what it says."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deemo_dist.config import RunConfig
from deemo_dist.errors import ConfigError
from deemo_dist.records import LoadedExample


class Judge:
    """The model in ``folder``, in evaluation mode, with its processor."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        import torch
        from transformers import AutoProcessor
        from transformers.utils.logging import disable_progress_bar

        from deemo_dist.model import DeemoLlamaForConditionalGeneration

        disable_progress_bar()
        torch.manual_seed(config.seed)
        self.max_new_tokens = config.evaluation.max_new_tokens
        self.model = DeemoLlamaForConditionalGeneration.from_pretrained(folder).eval()
        self.processor = AutoProcessor.from_pretrained(folder)

    def score(self, loaded: Sequence[LoadedExample], choices: Sequence[str]) -> np.ndarray:
        """Summed log-likelihood of each choice as the answer: float64 [N, C]."""
        from deemo_dist.model import score_choices

        return score_choices(self.model, self.processor, loaded, choices)

    def say(self, loaded: Sequence[LoadedExample]) -> list[str]:
        """The most probable text, token by token, for each example."""
        batch = self.processor.prompt(loaded)
        tokens = self.model.generate(**batch, max_new_tokens=self.max_new_tokens, do_sample=False)
        fresh = tokens[:, batch["input_ids"].shape[1] :]
        texts: list[str] = self.processor.tokenizer.batch_decode(fresh, skip_special_tokens=True)
        return [text.strip() for text in texts]


def choices_of(config: RunConfig) -> tuple[str, ...]:
    """The answers of the task that is judged. Raises ``ConfigError`` where it has no closed set of them."""
    task = config.tasks.get(config.evaluation.task)
    if task is None or not task.choices:
        raise ConfigError(
            f"evaluation.task is '{config.evaluation.task}', which is no task with choices",
            hint=f"one of: {', '.join(name for name, task in config.tasks.items() if task.choices)}",
        )
    return task.choices
