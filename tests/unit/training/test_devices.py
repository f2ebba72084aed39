"""Which device a rank takes, and how it leaves its peers: what a machine with GPUs does is told by stand-ins."""

from typing import Any

import pytest
import torch

from deemo_dist.environ import Placement, gpus
from deemo_dist.errors import TrainingError
from deemo_dist.training import ranks


def place(local_rank: int) -> Placement:
    return Placement(
        rank=local_rank, world=2, local_rank=local_rank, launcher="torchrun", master_addr="127.0.0.1", master_port=1
    )


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A machine with one GPU; which was taken."""
    taken: list[int] = []
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    return taken


def test_a_rank_takes_its_own_gpu_and_more_ranks_than_gpus_are_refused(one_gpu: list[int]) -> None:
    assert gpus() == 1
    assert ranks._device(place(0)) == torch.device("cuda", 0)
    assert one_gpu == [0]
    with pytest.raises(TrainingError, match="rank 1 has no GPU: this host has 1") as caught:
        ranks._device(place(1))
    assert "engine.ranks=1" in str(caught.value)


def test_no_gpu_is_taken_where_none_is_wanted(one_gpu: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    assert gpus() == 0
    assert ranks._device(place(1)) == torch.device("cpu")
    assert one_gpu == []


@pytest.mark.parametrize(
    ("device", "failed", "left"), [("cuda", True, False), ("cuda", False, True), ("cpu", True, True)]
)
def test_a_rank_that_fails_on_a_gpu_does_not_wait_for_its_peers(
    monkeypatch: pytest.MonkeyPatch, device: str, failed: bool, left: bool
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(ranks, "_joined", ranks.Ranks(place(0), torch.device(device)))
    monkeypatch.setattr(ranks.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(ranks.dist, "destroy_process_group", lambda: calls.append("destroyed"))
    monkeypatch.setattr(ranks.atexit, "unregister", calls.append)
    ranks.leave(failed=failed)
    assert calls == (["destroyed"] if left else [ranks.leave])
