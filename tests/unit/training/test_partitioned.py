"""What a model that was cut while it was built needs before it trains."""

from typing import Any

import pytest
import torch
from torch import nn

from deemo_dist.training.partitioned import settle_cut
from deemo_dist.training.ranks import import_deepspeed


def cut(values: torch.Tensor) -> nn.Linear:
    """A layer whose weight is cut, this rank's share being ``values``."""
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.empty(0)
    layer.weight.ds_tensor = values
    return layer


@pytest.mark.parametrize("pinned", [True, False])
def test_what_is_pinned_on_the_host_is_pinned_after_the_cast(monkeypatch: pytest.MonkeyPatch, pinned: bool) -> None:
    accelerator = import_deepspeed().get_accelerator()
    again: list[Any] = []
    monkeypatch.setattr(accelerator, "is_pinned", lambda tensor: pinned)
    monkeypatch.setattr(accelerator, "pin_memory", lambda tensor: again.append(tensor.dtype) or tensor)
    model = cut(torch.ones(4))
    share = model.weight.ds_tensor
    settle_cut(model, torch.bfloat16, torch.device("cpu"))
    assert share.dtype == model.weight.dtype == torch.bfloat16 and share.eq(1.0).all()
    settle_cut(model, torch.bfloat16, torch.device("cpu"))
    assert again == ([torch.bfloat16] if pinned else [])
