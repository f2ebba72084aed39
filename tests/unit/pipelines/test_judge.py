"""A model at work: on which device and in which precision; what a machine with a GPU does is told by stand-ins."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deemo_dist.config import RunConfig
from deemo_dist.errors import ModelError
from deemo_dist.model import DeemoLlamaForConditionalGeneration
from pipelines import judge
from pipelines.judge import Judge
from tests.unit.model.conftest import make_loaded

CHOICES = ("positive", "negative")


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "gpus", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**40, 2**40))


def test_without_a_gpu_it_works_in_fp32_on_the_cpu(folder: Path, config: RunConfig) -> None:
    found = Judge(folder, config)
    assert {parameter.dtype for parameter in found.model.parameters()} == {torch.float32}
    assert found.device == found.model.device == torch.device("cpu") and not found.model.training
    assert isinstance(found.say([make_loaded("a")])[0], str)


def test_with_a_gpu_it_works_there_in_bf16(
    folder: Path, config: RunConfig, with_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[Any] = []
    load = DeemoLlamaForConditionalGeneration.from_pretrained

    def loaded(path: Path, *, dtype: torch.dtype) -> Any:
        model = load(path, dtype=dtype)
        monkeypatch.setattr(model, "to", lambda device: moved.append(device) or model)
        return model

    monkeypatch.setattr(DeemoLlamaForConditionalGeneration, "from_pretrained", loaded)
    found = Judge(folder, config)
    assert {parameter.dtype for parameter in found.model.parameters()} == {torch.bfloat16}
    assert moved == [found.device] == [torch.device("cuda", 0)]
    scores = found.score([make_loaded("a"), make_loaded("b", modalities=("text",))], CHOICES)
    monkeypatch.undo()
    exact = Judge(folder, config).score([make_loaded("a"), make_loaded("b", modalities=("text",))], CHOICES)
    assert abs(scores - exact).max() < 0.1


def test_prompts_go_where_the_model_is(folder: Path, config: RunConfig) -> None:
    found = Judge(folder, config)
    found.device, given = torch.device("meta"), {}
    found.model = SimpleNamespace(
        generate=lambda **inputs: given.update(inputs) or torch.zeros(1, 999, dtype=torch.int)
    )
    found.say([make_loaded("a")])
    assert {value.device.type for value in given.values() if torch.is_tensor(value)} == {"meta"}


def test_a_model_for_which_there_is_no_memory_is_not_loaded(
    folder: Path, config: RunConfig, with_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**20, 2**40))
    monkeypatch.setattr(DeemoLlamaForConditionalGeneration, "from_pretrained", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(ModelError, match=r"takes 0.00 GiB in bfloat16, 0.00 are free on the GPU"):
        Judge(folder, config)
