import pytest

from deemo_dist.config import EngineConfig, config_digest
from deemo_dist.errors import TrainingError
from deemo_dist.training.engine_config import (
    MAX_BUCKET,
    MAX_SUB_GROUP,
    MIN_SUB_GROUP,
    check,
    check_quantised,
    deepspeed_config,
)


def settings(**fields) -> dict:
    own = {"micro_steps": 4, "max_grad_norm": 1.0, "largest_param": 20_000, "largest_trained": 1000,
           "trainable_params": 80_000, "on_gpu": False}  # fmt: skip
    return deepspeed_config(EngineConfig(**fields), **own)


def test_buckets_follow_the_model():
    """What is reduced by what trains, what is gathered ahead by all."""
    zero = settings()["zero_optimization"]
    assert zero["reduce_bucket_size"] == 10_000 and zero["stage3_prefetch_bucket_size"] == 18_000
    big = deepspeed_config(EngineConfig(), micro_steps=1, max_grad_norm=1.0, largest_param=2**30,
                           largest_trained=2**30, trainable_params=7 * 10**9, on_gpu=True)  # fmt: skip
    assert big["zero_optimization"]["reduce_bucket_size"] == MAX_BUCKET
    assert big["zero_optimization"]["overlap_comm"] is True


def test_precision_and_offload():
    assert "bf16" not in settings()
    assert settings(precision="bf16")["bf16"]["enabled"] is True
    assert settings(precision="bf16")["data_types"] == {"grad_accum_dtype": "fp32"}
    assert settings(precision="bf16")["communication_data_type"] == "fp32"
    assert settings(offload="cpu")["zero_optimization"]["offload_optimizer"]["device"] == "cpu"


def test_an_optimizer_on_a_disk_is_swapped_by_sub_groups_that_follow_the_model():
    fields = {"offload": "nvme", "nvme_path": "/scratch"}
    check(EngineConfig(**fields), world=4, on_gpu=False)
    zero = settings(**fields)["zero_optimization"]
    assert zero["offload_optimizer"] == {"device": "nvme", "nvme_path": "/scratch", "pin_memory": False}
    assert zero["offload_param"]["device"] == "cpu" and zero["sub_group_size"] == MIN_SUB_GROUP
    own = {"micro_steps": 1, "max_grad_norm": 1.0, "largest_param": 1, "largest_trained": 1, "on_gpu": True}
    config = EngineConfig(**fields)
    for trained, elements in ((16 * 10**7, 10**7), (10**12, MAX_SUB_GROUP)):
        made = deepspeed_config(config, **own, trainable_params=trained, swap_folder="/scratch/mine")
        assert made["zero_optimization"]["sub_group_size"] == elements
        assert made["zero_optimization"]["offload_optimizer"]["nvme_path"] == "/scratch/mine"
    assert "sub_group_size" not in settings(offload="cpu")["zero_optimization"]
    plain = config_digest(EngineConfig())
    assert config_digest(config) == plain  # where a state is kept changes no result


def test_own_keys_are_merged_over():
    found = settings(deepspeed={"zero_optimization": {"reduce_bucket_size": 7}, "wall_clock_breakdown": True})
    assert found["zero_optimization"]["reduce_bucket_size"] == 7
    assert found["zero_optimization"]["stage"] == 3 and found["wall_clock_breakdown"] is True


@pytest.mark.parametrize(
    "fields",
    [
        {"zero_stage": 0},
        {"offload": "nvme"},
        {"offload": "cpu", "zero_stage": 2},
        {"offload": "nvme", "nvme_path": "/scratch", "zero_stage": 2},
        {"hpz": 3},
        {"hpz": 2, "zero_stage": 2},
        {"hpz": 0},
        {"quantized_weights": True},
        {"quantized_gradients": True},
        {"partition_at_build": True, "zero_stage": 2},
        {"precision": "bf16", "zero_stage": 1},
        {"deepspeed": {"fp16": {"enabled": True, "loss_scale": 1}}},
        {"deepspeed": {"optimizer": {"type": "Adam"}}},
        {"deepspeed": {"gradient_clipping": 0.01}},
        {"deepspeed": {"aio": {"queue_depth": 32}}},
        {"deepspeed": {"zero_optimization": {"stage": 1}}},
    ],
)
def test_what_cannot_work_is_refused(fields):
    with pytest.raises(TrainingError, match="engine") as refused:
        check(EngineConfig(**fields), world=4, on_gpu=False)
    assert "\n" not in str(refused.value)


def test_keys_of_deepspeed_are_in_the_digest_but_for_those_of_speed_alone():
    plain = config_digest(EngineConfig())
    speed = {"zero_optimization": {"reduce_bucket_size": 7}, "wall_clock_breakdown": True}
    assert config_digest(EngineConfig(deepspeed=speed)) == plain
    for own in ({"prescale_gradients": True}, {"zero_optimization": {"ignore_unused_parameters": False}}):
        assert config_digest(EngineConfig(deepspeed=own)) != plain
        check(EngineConfig(deepspeed={**own, "wall_clock_breakdown": True}), world=1, on_gpu=False)


def test_a_second_copy_within_the_node_and_fewer_bits_are_handed_on():
    fields = {"hpz": 2, "quantized_weights": True}
    check(EngineConfig(**fields), world=4, on_gpu=True)
    zero = settings(**fields)["zero_optimization"]
    assert zero["zero_hpz_partition_size"] == 2
    assert zero["zero_quantized_weights"] is True and "zero_quantized_gradients" not in zero
    assert settings(**fields, precision="bf16")["communication_data_type"] == "fp32"


def test_gradients_in_fewer_bits_are_refused_and_weights_where_their_sizes_do_not_fit():
    with pytest.raises(TrainingError, match="reads every gradient as fp16"):
        check(EngineConfig(quantized_gradients=True), world=4, on_gpu=True)
    fits = {"a": 8 * 8 * 3, "b": 64}
    quantised = EngineConfig(quantized_weights=True)
    check_quantised(quantised, fits, world=8)
    siglip = {**fits, "vision_tower.fc1.bias": 4304, "c": 8}
    with pytest.raises(
        TrainingError, match=r"cannot send vision_tower\.fc1\.bias: its 4304 .* \(nor are those of 1 more"
    ):
        check_quantised(quantised, siglip, world=8)
    check_quantised(EngineConfig(), siglip, world=8)
