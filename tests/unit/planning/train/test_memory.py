"""The memory plan: against the bytes that real ZeRO ranks hold, and its laws."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.planning.train.memory import FP32, Parameter, Zero, cut, memory, other_ways
from deemo_dist.planning.train.sizes import empty_model
from deemo_dist.planning.train.trace import Unit

WORKER = Path(__file__).with_name("measured.py")
ROOT = Path(__file__).parents[4]
TRAINS = ["*projector*", "*language_model*"]


def measured(folder: Path, ranks: int, precision: str) -> list[dict[str, int]]:
    """What each of so many real ranks holds after a step of the nano model, by kind."""
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"precision": precision, "trains": TRAINS}))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(ranks)}
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    children = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(plan)],
            env={**env, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]
    said = [child.communicate(timeout=240)[0] for child in children]
    assert [child.returncode for child in children] == [0] * ranks, said[0][-3000:]
    return [json.loads(Path(f"{plan}.{rank}").read_text()) for rank in range(ranks)]


def parameters_of_nano() -> tuple[Parameter, ...]:
    from deemo_dist.config import TrainRule, load
    from deemo_dist.training import apply_rules

    model = empty_model(load("demo", []).model, precision="fp32")
    apply_rules(model, {pattern: TrainRule() for pattern in TRAINS})
    return tuple(Parameter(elements=each.numel(), trains=each.requires_grad) for each in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "precision"), [(1, "fp32"), (2, "fp32"), (2, "bf16")])
def test_the_plan_is_within_a_tenth_of_what_real_ranks_hold(tmp_path: Path, ranks: int, precision: str) -> None:
    """Of ZeRO-3. In bf16 the gradients are held in fp32."""
    zero = Zero(stage=3, bytes=FP32) if precision == "fp32" else Zero(stage=3, bytes=2, gradient_bytes=FP32)
    plan = memory(parameters_of_nano(), zero, ranks=ranks)
    for found in measured(tmp_path, ranks, precision):
        for kind in ("parameters", "gradients", "optimizer"):
            assert getattr(plan, kind) == pytest.approx(found[kind], rel=0.1), (kind, found)
        together = plan.parameters + plan.gradients + plan.optimizer
        assert together == pytest.approx(found["parameters"] + found["gradients"] + found["optimizer"], rel=0.03)
        assert found["all"] >= 0.9 * (found["parameters"] + found["optimizer"])
        for kind in ("snapshot", "restored"):
            assert getattr(plan, kind) == pytest.approx(found[kind], rel=0.01), (kind, found)


SIZES = st.lists(st.builds(Parameter, elements=st.integers(1, 10**7), trains=st.booleans()), min_size=1, max_size=20)


@given(SIZES, st.integers(1, 1024))
def test_shares_cover_the_model_and_waste_less_than_a_rank_an_element(parameters: list[Parameter], ranks: int) -> None:
    for trains in (False, True):
        whole, share = cut(parameters, 1, trains=trains), cut(parameters, ranks, trains=trains)
        assert whole <= share * ranks < whole + ranks * len(parameters) + 1


@given(SIZES, st.integers(1, 256))
def test_more_cutting_never_takes_more(parameters: list[Parameter], ranks: int) -> None:
    def held(zero: Zero) -> float:
        plan = memory(parameters, zero, ranks=ranks)
        return plan.parameters + plan.gradients + plan.optimizer

    ways = other_ways(Zero(stage=3, bytes=2))
    slack = 16 * ranks * len(parameters)
    totals = [held(ways[f"ZeRO-{stage}"]) for stage in range(4)]
    assert all(later <= earlier + slack for earlier, later in pairwise(totals))
    assert held(ways["ZeRO-3, optimizer on the host"]) <= totals[3]
    assert held(ways["ZeRO-3, all on the host"]) == 0.0


def test_a_known_model_by_hand() -> None:
    """7.5 billion parameters on 64 ranks: figure 1 of the ZeRO paper (arXiv 1910.02054), 16 bytes a parameter."""
    one = [Parameter(elements=7_500_000_000, trains=True)]
    expected = {"ZeRO-0": 120.0, "ZeRO-1": 31.4, "ZeRO-2": 16.6, "ZeRO-3": 1.9}
    for name, zero in other_ways(Zero(stage=3, bytes=2)).items():
        plan = memory(one, zero, ranks=64)
        if name in expected:
            assert (plan.parameters + plan.gradients + plan.optimizer) / 1e9 == pytest.approx(expected[name], abs=0.05)


def test_zero_is_read_off_the_engine_s_own_settings() -> None:
    from deemo_dist.config import EngineConfig
    from deemo_dist.training.engine_config import deepspeed_config

    config = EngineConfig(zero_stage=3, precision="bf16", offload="cpu", hpz=8, quantized_weights=True)
    sizes = {"largest_param": 500, "largest_trained": 500, "trainable_params": 8_000}
    zero = Zero.of(deepspeed_config(config, micro_steps=1, max_grad_norm=1.0, on_gpu=True, **sizes))
    expected = Zero(
        stage=3, bytes=2, gradient_bytes=4, offload_optimizer=True, offload_parameters=True, reduce_bucket=1_000, hpz=8
    )
    assert zero == replace(expected, persist_below=100_000, overlap=True, quantised_weights=True)


def test_an_optimizer_on_a_disk_takes_its_bytes_there_and_buffers_on_the_host() -> None:
    from deemo_dist.config import EngineConfig
    from deemo_dist.training.engine_config import deepspeed_config
    from deemo_dist.training.swap.folder import SWAP_BYTES, swap_bytes

    sizes = {"largest_param": 10**6, "largest_trained": 10**6, "trainable_params": 10**8}
    plans = {}
    for offload in ("cpu", "nvme"):
        config = EngineConfig(precision="bf16", offload=offload, nvme_path="/scratch")
        zero = Zero.of(deepspeed_config(config, micro_steps=1, max_grad_norm=1.0, on_gpu=True, **sizes))
        plans[offload] = memory([Parameter(elements=10**6, trains=True)] * 100, zero, ranks=4)
    share, through = 100 * 250_000, 10**8 // 16 + 250_000
    assert plans["nvme"].disk == swap_bytes([10**6] * 100, 4) == SWAP_BYTES * share and plans["cpu"].disk == 0.0
    assert plans["cpu"].host - plans["nvme"].host == 12 * share - 16 * through
    assert plans["cpu"].snapshot == plans["cpu"].restored == 12 * share
    assert plans["nvme"].snapshot == plans["nvme"].restored == 0.0  # on the disk: of its 36 bytes
    assert plans["nvme"].total == plans["cpu"].total and "disk" not in plans["nvme"].kinds()


def test_a_checkpoint_s_copies_lie_on_the_host_and_never_with_a_step() -> None:
    one = [Parameter(elements=1_000, trains=True), Parameter(elements=500, trains=False)]
    for stage, owned in ((1, 500), (2, 500), (3, 500), (0, 1_000)):
        plan = memory(one, Zero(stage=stage, bytes=4), ranks=2, device=10**9)
        assert plan.snapshot == plan.restored == 12 * owned and plan.on_host == 24 * owned
        assert not {"snapshot", "restored"} & plan.kinds().keys()
    alone = memory(one, Zero(stage=3, bytes=4), ranks=1)
    assert alone.on_cpu == alone.total + alone.snapshot + alone.restored  # nothing passes that is as much
    busy = memory(one, Zero(stage=3, bytes=4), ranks=1, pack=Unit(saved=1e6))
    assert busy.on_cpu == busy.total + busy.snapshot


def test_only_zero_1_and_2_fill_a_second_bucket_meanwhile() -> None:
    one = [Parameter(elements=1_000, trains=True)]
    overlapping = Zero(stage=3, bytes=2, gradient_bytes=4, reduce_bucket=100, overlap=True)
    found = {stage: memory(one, replace(overlapping, stage=stage), ranks=2).buckets for stage in range(4)}
    assert found == {0: 0.0, 1: 800.0, 2: 800.0, 3: 400.0}
