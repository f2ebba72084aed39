"""Adapters on real ZeRO-3 ranks: the same losses on one and two, resumed to the bit, frozen weights never stored."""

import pytest
import torch

from deemo_dist.config import StorageConfig
from deemo_dist.storage import open_store
from deemo_dist.training import finished, read_full_state

pytestmark = pytest.mark.slow

LORA = {
    "*": {"mode": "frozen"},
    "language_model*": {"mode": "lora", "rank": 4, "alpha": 8.0, "dropout": 0.1, "lr": 3e-2},
    "video_projector*": {"lr": 1e-2, "weight_decay": 0.1},
}


def test_adapters_train_alike_on_one_and_two_ranks_and_resume_to_the_bit(ranks):
    whole = ranks(2, "whole", trains=LORA)
    assert whole.codes == [0, 0], whole.output()
    assert whole.losses()[-1] < 0.9 * whole.losses()[0]
    alone = ranks(1, "alone", trains=LORA, partition_at_build=True)
    assert alone.codes == [0], alone.output()
    assert torch.allclose(torch.tensor(alone.losses()), torch.tensor(whole.losses()), rtol=1e-5)
    assert ranks(2, "killed", trains=LORA, kill_step=5, every=2).codes == [-9, -9]
    resumed = ranks(2, "killed", trains=LORA, every=2)
    assert resumed.codes == [0, 0], resumed.output()
    assert resumed.hexes() == whole.hexes()
    store = open_store(StorageConfig(root=f"file://{whole.folder}/store"))
    found = finished(store, "runs/r/s", "a" * 64)
    assert found is not None
    assert set(read_full_state(store, found[1])) == {
        *(f"video_projector.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")),
        *(f"language_model.lora_{side}.default.weight" for side in "AB"),
    }
