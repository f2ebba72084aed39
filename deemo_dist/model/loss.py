"""The loss of a language model over the positions that predict a label, and their logits alone."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from deemo_dist.model.conversation import IGNORED


def logits_at(run: Callable[[int | Tensor], Any], rows: Tensor, batch: int) -> Tensor:
    """Logits [n, V] of the positions ``rows`` of a batch laid end to end; of all positions where it has several."""
    logits: Tensor = run(rows if batch == 1 else 0).logits
    return logits[0] if batch == 1 else logits.flatten(0, 1)[rows]


def loss_over(
    labels: Tensor,
    logits_of: Callable[[Tensor, int], Tensor],
    num_items: float | Tensor | None,
    rows: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy of the labelled tokens of ``labels`` [B, T] over ``num_items``, and the logits [targets, V]
    it came from: ``logits_of`` the positions that predict a label alone, laid end to end, and ``B``.

    ``rows``: those positions, where they are known; to look for them on a GPU is to wait for it. Of one position, to no
    effect, where there are none.
    """
    targets = F.pad(labels, (0, 1), value=IGNORED)[:, 1:].reshape(-1)
    rows = torch.nonzero(targets != IGNORED).flatten() if rows is None else rows
    count = len(rows)
    if not count:
        rows = torch.zeros(1, dtype=torch.long, device=labels.device)
    logits = logits_of(rows, len(labels))
    total = F.cross_entropy(logits.float(), targets[rows], ignore_index=IGNORED, reduction="sum")
    return total / (max(1, count) if num_items is None else num_items), logits[:count]
