"""DeepSpeed's own optimizers for GPUs and for offloading, their compiled kernels told in torch: they go as torch's
AdamW does, and take up a count of updates that a checkpoint kept."""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from deemo_dist.config import EngineConfig, TrainRule
from deemo_dist.environ import Placement
from deemo_dist.training.engine import BETAS, EPSILON, Engine, _optimizer
from deemo_dist.training.fragments import adam_states
from deemo_dist.training.ranks import Ranks, import_deepspeed
from deemo_dist.training.trainable import Trainable, apply_rules

RULES = {"*": TrainRule(lr=1e-2, weight_decay=0.1)}


def ranks_on(device: str) -> Ranks:
    place = Placement(rank=0, world=1, local_rank=0, launcher="single", master_addr="127.0.0.1", master_port=0)
    return Ranks(place, torch.device(device))


def updated(p: Tensor, g: Tensor, m: Tensor, v: Tensor, step: int, lr: float, betas: tuple, eps: float, decay: float):
    """What the kernels do: the ``step``-th update of AdamW, in place."""
    assert type(step) is int  # theirs is an argument of C, which takes no tensor
    m.mul_(betas[0]).add_(g, alpha=1 - betas[0])
    v.mul_(betas[1]).addcmul_(g, g, value=1 - betas[1])
    p.mul_(1 - lr * decay)
    p.addcdiv_(m / (1 - betas[0] ** step), (v / (1 - betas[1] ** step)).sqrt().add_(eps), value=-lr)


class FusedKernel:
    """``multi_tensor_adam`` of DeepSpeed's ``fused_adam`` extension."""

    @staticmethod
    def multi_tensor_adam(chunk, overflow, lists, lr, beta1, beta2, eps, step, decoupled, corrects, decay):
        assert decoupled == corrects == 1
        with torch.no_grad():
            for g, p, m, v in zip(*lists, strict=True):
                updated(p, g, m, v, step, lr, (beta1, beta2), eps, decay)


class CpuKernel:
    """DeepSpeed's ``cpu_adam`` extension."""

    def create_adam(self, number, lr, beta1, beta2, eps, decay, decoupled, loud):
        assert decoupled

    def adam_update(self, number, step, lr, beta1, beta2, eps, decay, corrects, p, g, m, v):
        assert corrects
        updated(p, g, m, v, step, lr, (beta1, beta2), eps, decay)

    def destroy_adam(self, number):
        pass


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    import_deepspeed()
    from deepspeed.ops.adam import cpu_adam, fused_adam

    monkeypatch.setattr(fused_adam, "FusedAdamBuilder", lambda: SimpleNamespace(load=FusedKernel))
    monkeypatch.setattr(cpu_adam, "CPUAdamBuilder", lambda: SimpleNamespace(load=CpuKernel))


def made() -> tuple[nn.Module, Trainable]:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(5, 7))
    return model, apply_rules(model, RULES)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: Sequence[int]) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        model(torch.randn(4, 5, generator=generator)).square().sum().backward()
        optimizer.step()


def beside(optimizer: torch.optim.Optimizer) -> SimpleNamespace:
    """A ZeRO optimizer around it, as ``adam_states`` sees one: a flat partition a group (a fused Adam counts the steps
    of a group's last tensor alone, so DeepSpeed never gives it two)."""
    assert all(len(group["params"]) == 1 for group in optimizer.param_groups)
    flat = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return SimpleNamespace(optimizer=optimizer, single_partition_of_fp32_groups=flat)


@pytest.mark.parametrize(
    ("offload", "kind"), [("none", "FusedAdam"), ("cpu", "DeepSpeedCPUAdam"), ("nvme", "DeepSpeedCPUAdam")]
)
def test_a_gpu_s_optimizer_updates_as_torch_does_and_goes_on_from_a_checkpoint(kernels, offload, kind):
    model, trainable = made()
    plain, _ = made()
    optimizer = _optimizer(model, trainable, EngineConfig(offload=offload, nvme_path="/d"), ranks_on("cuda"))
    reference = _optimizer(plain, trainable, EngineConfig(), ranks_on("cpu"))
    assert type(optimizer).__name__ == kind and type(reference) is torch.optim.AdamW
    assert [group["lr"] for group in optimizer.param_groups] == [group["lr"] for group in reference.param_groups]
    assert all(group["betas"] == BETAS and group["eps"] == EPSILON for group in optimizer.param_groups)
    for each in (optimizer, reference):
        adam_states(beside(each), 0)
    train(model, optimizer, range(3))
    train(plain, reference, range(3))
    same = zip(model.parameters(), plain.parameters(), strict=True)
    assert all(torch.allclose(mine, theirs, rtol=1e-5, atol=1e-7) for mine, theirs in same)
    assert {state["step"] for state in optimizer.state.values()} == {3}

    again, _ = made()
    again.load_state_dict(model.state_dict())
    resumed = _optimizer(again, trainable, EngineConfig(offload=offload, nvme_path="/d"), ranks_on("cuda"))
    adam_states(beside(resumed), 3)
    for mine, theirs in zip(model.parameters(), again.parameters(), strict=True):
        for moment in ("exp_avg", "exp_avg_sq"):
            resumed.state[theirs][moment].copy_(optimizer.state[mine][moment])
    train(model, optimizer, [3, 4])
    train(again, resumed, [3, 4])
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(model.parameters(), again.parameters(), strict=True))


def test_a_batch_goes_to_the_rank_s_device_as_it_is():
    """``meta`` stands for a GPU: tensors are there, in the types that they came in; all else is as it was."""
    engine = Engine.__new__(Engine)
    engine.ranks = ranks_on("meta")
    batch = {"input_ids": torch.zeros(1, 3, dtype=torch.long), "pixel_values": torch.zeros(2), "max_seqlen": 3}
    placed = engine._placed(batch)
    assert placed.keys() == batch.keys() and placed["max_seqlen"] == 3
    assert placed["input_ids"].device.type == placed["pixel_values"].device.type == "meta"
    assert placed["input_ids"].dtype == torch.long and placed["pixel_values"].dtype == torch.float32
    engine.ranks = ranks_on("cpu")
    assert engine._placed(batch)["pixel_values"] is batch["pixel_values"]
