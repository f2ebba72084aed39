"""Recognition by likelihood: how probable the model finds each answer of a closed set."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from deemo_dist.errors import ModelError
from deemo_dist.model.processing import DeemoLlamaProcessor
from deemo_dist.records import LoadedExample


@torch.no_grad()
def score_choices(
    model: Any,
    processor: DeemoLlamaProcessor,
    loaded: Sequence[LoadedExample],
    choices: Sequence[str],
    *,
    batch: int = 8,
) -> np.ndarray:
    """Summed log-likelihood of each choice (its end-of-turn mark included) as the answer: float64 [N, C].

    ``batch`` examples go in one pack with all their choices, each medium encoded once. The model's mode is restored.
    Raises ``ModelError`` for no choices, a repeated one, or one that becomes no tokens, and for scores that are not
    finite.
    """
    if not choices or len(set(choices)) != len(choices):
        raise ModelError(f"choices must be given and differ: {list(choices)}")
    was_training = model.training
    model.eval()
    try:
        rows = [
            _scores(model, processor, loaded[start : start + batch], choices) for start in range(0, len(loaded), batch)
        ]
    finally:
        model.train(was_training)
    scores = np.concatenate(rows) if rows else np.zeros((0, len(choices)))
    if not np.isfinite(scores).all():
        raise ModelError("the model gave scores that are not finite", hint="did training diverge? look at its losses")
    return scores


def _scores(
    model: Any, processor: DeemoLlamaProcessor, loaded: Sequence[LoadedExample], choices: Sequence[str]
) -> np.ndarray:
    """Scores of one pack of variants."""
    pack = processor.variants(loaded, choices)
    device = next(model.parameters()).device
    moved = {name: value.to(device) if torch.is_tensor(value) else value for name, value in pack.items()}
    logits = model(**moved, num_items_in_batch=1.0).logits.float()
    labels, starts = pack["labels"][0], pack["cu_seqlens"].long()
    positions = torch.nonzero(labels != -100).flatten()
    picked = -F.cross_entropy(logits, labels[positions].to(device), reduction="none").double().cpu()
    segment = torch.bucketize(positions, starts[1:], right=True)
    variants = len(starts) - 1
    if len(torch.unique(segment)) != variants:
        raise ModelError("a choice became no tokens", hint="give every choice a text that the tokenizer can spell")
    totals = torch.zeros(variants, dtype=torch.float64).index_add_(0, segment, picked)
    return totals.view(len(loaded), len(choices)).numpy()
