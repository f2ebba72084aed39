import torch

from deemo_dist.training import StepBatches
from deemo_dist.training.metrics import tokens_of


def ids(count: int) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.zeros(1, count, dtype=torch.long)}


def test_tokens_are_those_of_the_batches_without_null_packs():
    """Whatever the plan said: a modality that was left out of an example takes its tokens with it."""
    assert tokens_of(StepBatches(batches=[ids(30), ids(1)], targets=1, packs=(4, -1))) == 30
    assert tokens_of(StepBatches(batches=[ids(30), ids(12)], targets=1)) == 42
    assert tokens_of(StepBatches(batches=[{"rows": torch.zeros(3)}], targets=1, tokens=7)) == 7
