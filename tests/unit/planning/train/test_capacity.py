"""Capacity: published trainings, the roofline's laws, what is advised, and the tables of hardware."""

from dataclasses import replace

import pytest

from deemo_dist.errors import ConfigError
from deemo_dist.planning.train.capacity import Stage, capacity, stage_memory
from deemo_dist.planning.train.hardware import GIB, GPUS, gpu_of, network_of
from deemo_dist.planning.train.memory import Parameter, Zero
from deemo_dist.planning.train.roofline import Cluster, step_time, traffic
from deemo_dist.planning.train.trace import Costs, Unit
from deemo_dist.planning.train.work import Pack

LENGTH = 2048


def decoder(
    parameters: float, layers: int, width: int, *, sequences: int, checkpointing: bool = False, length: int = LENGTH
) -> Stage:
    """A dense decoder in bf16 whose packs are so many sequences of ``length`` tokens, by its operations' formulas.

    Kept bytes a token and layer: 34 widths of bf16 units (Korthikanti et al. 2022, arXiv 2205.05198, with fused
    attention); a layer's input where layers are recomputed.
    """
    kept, entered = 34.0 * width, 2.0 * width
    token = Unit(
        forward=2 * parameters,
        backward=4 * parameters,
        recompute=2 * parameters,
        saved=kept * layers,
        saved_checkpointed=entered * layers,
        layer=kept,
    )
    scores = 4.0 * layers * width
    pair = Unit(forward=scores, backward=2 * scores, recompute=scores)
    none = Unit()
    pack = Pack.of([length] * sequences, labels=0, clips=0, windows=0, cues=0)
    return Stage(
        name="decoder",
        parameters=tuple(Parameter(elements=round(parameters / layers), trains=True) for _ in range(layers)),
        costs=Costs(frames=1, clip=none, window=none, cue=none, token=token, pair=pair, label=none),
        mean=pack,
        largest=pack,
        packs=10_000,
        packs_per_step=512,
        buffers=0.0,
        checkpointing=checkpointing,
        zero=Zero(stage=3, bytes=2, reduce_bucket=500_000_000, overlap=True),
    )


def cluster(ranks: int, gpu: str = "h100", network: str = "8x400g") -> Cluster:
    return Cluster(gpu=gpu_of(gpu), network=network_of(network), ranks=ranks, per_node=8)


# llm-foundry's README at 2,048 tokens, and its 7B on 128 and 512 H100:
# parameters, layers, width, sequences a micro-step, recomputed, GPU, network, GPUs, published tokens/s/GPU
PUBLISHED = {
    "7b h100 x8": (6_658_859_008, 32, 4096, 6, False, "h100", "8x400g", 8, 10_643),
    "7b h100 x128": (6_658_859_008, 32, 4096, 6, False, "h100", "8x400g", 128, 10_475),
    "7b h100 x512": (6_658_859_008, 32, 4096, 6, False, "h100", "8x400g", 512, 9_670),
    "13b h100 x16": (12_853_954_560, 40, 5120, 2, False, "h100", "8x400g", 16, 4_767),
    "30b h100 x32": (29_975_214_080, 48, 7168, 14, True, "h100", "8x400g", 32, 2_308),
    "70b h100 x64": (64_862_437_376, 80, 8192, 8, True, "h100", "8x400g", 64, 1_039),
    "7b a100 x8": (6_658_859_008, 32, 4096, 6, False, "a100", "1600g", 8, 4_641),
    "13b a100 x8": (12_853_954_560, 40, 5120, 2, False, "a100", "1600g", 8, 2_262),
    "70b a100 x64": (64_862_437_376, 80, 8192, 8, True, "a100", "1600g", 64, 410),
}


@pytest.mark.parametrize("row", PUBLISHED.values(), ids=PUBLISHED.keys())
def test_published_trainings_are_met_within_a_fifth_and_fit(row: tuple) -> None:
    parameters, layers, width, sequences, checkpointing, gpu, network, ranks, rate = row
    stage = decoder(parameters, layers, width, sequences=sequences, checkpointing=checkpointing)
    found = capacity(stage, cluster(ranks, gpu, network))
    assert found.tokens_per_second / ranks == pytest.approx(rate, rel=0.2)
    assert found.fits, found.memory


def test_a_training_that_no_figure_was_taken_from_is_met_within_a_fifth_too() -> None:
    """torchtitan's Llama-3.1-8B on 8 H100 at 8,192 tokens, 5,762 tokens/s/GPU: another framework, another length."""
    stage = decoder(8_030_261_248, 32, 4096, sequences=1, checkpointing=True, length=8192)
    found = capacity(stage, cluster(8))
    assert found.tokens_per_second / 8 == pytest.approx(5_762, rel=0.2)
    assert found.fits


def test_three_times_the_published_packs_do_not_fit() -> None:
    """llm-foundry chose 6 sequences for the 7B on 8 H100, as many as fitted: 18 must not."""
    assert not capacity(decoder(6_658_859_008, 32, 4096, sequences=18), cluster(8)).fits


@pytest.mark.parametrize(("network", "tokens"), [("200g", 17_800), ("400g", 8_900), ("800g", 4_450)])
def test_tokens_that_hide_zero_3_s_traffic(network: str, tokens: float) -> None:
    """At 0.45 of the peak, without attention: figures of the roofline alone."""
    stage = decoder(7e9, 32, 1, sequences=1)
    found = capacity(stage, cluster(1024, network=network), efficiency=0.45)
    assert found.hiding_tokens == pytest.approx(tokens, rel=0.01)


def test_traffic_by_stage() -> None:
    parameters = [Parameter(elements=900, trains=True), Parameter(elements=100, trains=False)]
    three = Zero(stage=3, bytes=2)
    assert traffic(parameters, three, 10) == pytest.approx((0.9 * (2 * 2 * 1000 + 2 * 900), 0, 0))
    assert traffic(parameters, replace(three, stage=2), 10) == pytest.approx((0.9 * 1800, 0, 0.9 * 1800))
    assert traffic(parameters, replace(three, stage=0), 10) == pytest.approx((0, 0, 0.9 * 3600))
    inside = traffic(parameters, replace(three, hpz=8), 10)
    assert inside == pytest.approx((0.9 * (2000 + 1800), 2000 * 7 / 8, 0))
    packed = traffic(parameters, replace(three, quantised_weights=True, quantised_gradients=True), 10)
    assert packed[0] == pytest.approx(0.9 * (2 * 1000 + 450))
    assert traffic(parameters, three, 1) == (0.0, 0.0, 0.0)


def test_a_slow_network_shows_and_a_fast_one_or_none_hides() -> None:
    stage = decoder(7e9, 32, 4096, sequences=1)
    slow, fast = (capacity(stage, cluster(64, network=name)) for name in ("100g", "8x400g"))
    assert slow.time.bound == "network" and slow.time.exposed > 0 and slow.time.mfu < 0.5 * fast.time.mfu
    assert fast.time.exposed == 0 and fast.time.mfu == pytest.approx(gpu_of("h100").efficiency, rel=0.01)
    assert "engine.hpz=8" in slow.advice[0] and "hide the traffic" in slow.advice[0]
    none_hidden = capacity(stage, cluster(64), overlap=0.0)
    assert none_hidden.time.exposed == pytest.approx(none_hidden.time.between)


def test_a_rank_that_waits_slows_all() -> None:
    stage = decoder(7e9, 32, 4096, sequences=4)
    even, uneven = (capacity(replace(stage, slowest=lambda ranks, by=by: by), cluster(8)) for by in (1.0, 1.25))
    assert uneven.time.seconds == pytest.approx(1.25 * even.time.seconds, rel=0.01)


@pytest.mark.parametrize(("packs", "micro"), [(8, 1), (9, 2), (12, 2), (128, 16)])
def test_ranks_without_a_pack_wait_and_count_for_nothing(packs: int, micro: int) -> None:
    stage = replace(decoder(7e9, 32, 4096, sequences=6), packs_per_step=packs)
    whole, found = (capacity(each, cluster(8)) for each in (replace(stage, packs_per_step=8), stage))
    assert found.time.micro == micro
    assert found.time.seconds == pytest.approx(micro * (whole.time.seconds - whole.time.update) + whole.time.update)
    needed = found.tokens_per_second / stage.mean.tokens * found.time.flops
    assert found.time.mfu == pytest.approx(needed / (8 * gpu_of("h100").peak))
    assert found.flops == pytest.approx(packs * found.time.flops)


def test_what_does_not_fit_is_told_what_helps_and_that_is_true() -> None:
    stage = decoder(6_658_859_008, 32, 4096, sequences=24)
    found = capacity(stage, cluster(8))
    assert not found.fits and found.advice == ("engine.gradient_checkpointing=true",)
    assert stage_memory(replace(stage, checkpointing=True), cluster(8)).total <= gpu_of("h100").memory
    huge = decoder(70e9, 80, 8192, sequences=1, checkpointing=True)
    roomy = replace(cluster(8), ram=4 * 2**40)
    assert capacity(huge, roomy).advice[0].startswith("engine.offload=cpu")
    hopeless = decoder(70e12, 80, 8192, sequences=1)
    assert "nothing here makes room" in capacity(hopeless, cluster(8)).advice[0]


def test_a_node_whose_memory_is_too_small_does_not_fit_and_a_disk_or_more_nodes_help() -> None:
    """70 billion parameters in one node of 2 TiB: state, snapshot and what is restored are 36 bytes a parameter."""
    huge = decoder(70e9, 80, 8192, sequences=1, checkpointing=True)
    away = replace(huge, zero=replace(huge.zero, offload_optimizer=True, offload_parameters=True))
    found = capacity(away, cluster(8))
    assert found.memory.total <= found.available and found.memory.on_host > found.host == 2**41 / 8
    assert not found.fits and found.advice[0].startswith("engine.offload=nvme")
    assert capacity(away, cluster(16)).fits
    swapped = replace(away, zero=replace(away.zero, swapped=5 * 10**7))
    assert capacity(swapped, cluster(8)).fits


def test_a_node_that_cannot_hold_the_whole_model_cannot_export_it() -> None:
    huge = decoder(70e9, 80, 8192, sequences=1, checkpointing=True)
    small, enough = (capacity(huge, replace(cluster(512), ram=gib * GIB)) for gib in (130, 140))
    assert small.memory.on_host <= small.host and not small.fits and enough.fits
    assert small.advice[-1] == "137 GiB of memory in the first node: the model is exported there"
    assert small.export == 70e9 * 2 + 8 * 70e9 / 80


def test_more_ranks_than_packs_are_told() -> None:
    stage = replace(decoder(7e9, 32, 4096, sequences=6), packs_per_step=8)
    found = capacity(stage, cluster(64))
    assert found.packs_per_step == 64 and found.time.micro == 1 and "packs_per_step=64" in found.advice[0]
    assert found.steps == -(-10_000 // 64)


def test_days_and_gpu_hours_are_steps_times_their_time() -> None:
    found = capacity(decoder(7e9, 32, 4096, sequences=6), cluster(64))
    assert found.days * 86_400 == pytest.approx(found.steps * found.time.seconds)
    assert found.gpu_hours == pytest.approx(found.days * 24 * 64)
    assert found.steps == 20 and found.time.micro == 8


def test_offloading_moves_the_bytes_and_costs_time() -> None:
    stage = decoder(7e9, 32, 4096, sequences=6)
    away = replace(stage, zero=replace(stage.zero, offload_optimizer=True, offload_parameters=True))
    here, there = (capacity(each, cluster(8)) for each in (stage, away))
    assert there.memory.optimizer == there.memory.gradients == there.memory.parameters == 0
    assert there.memory.host > here.memory.optimizer and there.time.update > here.time.update
    further = capacity(replace(away, zero=replace(away.zero, swapped=5 * 10**7)), cluster(8))
    assert further.memory.host < there.memory.host and further.time.update > there.time.update
    assert further.memory.disk > 0 == there.memory.disk


def test_fp32_runs_at_the_fp32_peak() -> None:
    stage = decoder(7e9, 32, 4096, sequences=1)
    unit = Unit(forward=1e15)
    half, whole = (
        step_time(cluster(1), stage.parameters, replace(stage.zero, bytes=size), unit, micro=1) for size in (2, 4)
    )
    assert whole.compute == pytest.approx(2 * half.compute, rel=0.01)


def test_hardware_is_known_by_name_with_its_source() -> None:
    assert all(gpu.source and gpu.reached and gpu.peak > gpu.peak_fp32 for gpu in GPUS.values())
    assert network_of("8x400g").node == 8 * network_of("400g").node == 400e9
    for wrong in ("400", "fast", "0g", "0x400g"):
        with pytest.raises(ConfigError, match="is no network"):
            network_of(wrong)
    with pytest.raises(ConfigError, match="no figures for the GPU 'h9000'"):
        gpu_of("h9000")
