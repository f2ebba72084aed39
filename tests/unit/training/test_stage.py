"""What a stage sets before it starts."""

import os

import pytest
import torch

from deemo_dist.config import EngineConfig
from deemo_dist.training.stage import _deterministic


@pytest.fixture
def as_before(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    efficient = torch.backends.cuda.mem_efficient_sdp_enabled()
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.backends.cuda.enable_mem_efficient_sdp(efficient)


def test_a_deterministic_stage_on_a_gpu_allows_no_other_operation(as_before):
    _deterministic(EngineConfig(deterministic=False), torch.device("cuda"))
    _deterministic(EngineConfig(), torch.device("cpu"))
    assert not torch.are_deterministic_algorithms_enabled()
    _deterministic(EngineConfig(), torch.device("cuda"))
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.backends.cuda.mem_efficient_sdp_enabled()
    _deterministic(EngineConfig(tolerate_nondeterminism=True), torch.device("cuda"))
    assert torch.is_deterministic_algorithms_warn_only_enabled()
