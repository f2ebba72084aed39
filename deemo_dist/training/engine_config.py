"""The typed engine configuration as DeepSpeed's own dictionary. Pure."""

from collections.abc import Mapping
from typing import Any

from deemo_dist.config import EngineConfig
from deemo_dist.errors import TrainingError

MAX_BUCKET = 500_000_000
PERSIST = 100_000


def check(config: EngineConfig, *, world: int, on_gpu: bool) -> None:
    """Refuse what the engine cannot do on so many ranks. Raises ``TrainingError``."""
    if config.zero_stage == 0:
        raise TrainingError("engine.zero_stage 0 is not supported", hint="stage 1 replicates the parameters as well")
    if config.offload == "nvme":
        raise TrainingError(
            "engine.offload nvme is not supported: its optimizer state cannot be put into a checkpoint",
            hint="use offload: cpu",
        )
    if config.offload != "none" and config.zero_stage != 3:
        raise TrainingError(f"engine.offload {config.offload} needs ZeRO stage 3", hint="set engine.zero_stage to 3")
    if config.hpz < 1 or world % config.hpz or (config.hpz > 1 and config.zero_stage != 3):
        raise TrainingError(
            f"engine.hpz {config.hpz} does not go with {world} ranks of ZeRO stage {config.zero_stage}",
            hint="the ranks of one node, under ZeRO stage 3; 1 for none",
        )
    if (config.quantized_weights or config.quantized_gradients) and not (on_gpu and config.zero_stage == 3):
        raise TrainingError(
            "engine.quantized_weights and quantized_gradients need GPUs and ZeRO stage 3", hint="leave them out here"
        )


def deepspeed_config(
    config: EngineConfig,
    *,
    micro_steps: int,
    max_grad_norm: float,
    largest_param: int,
    trainable_params: int,
    on_gpu: bool,
) -> dict[str, Any]:
    """DeepSpeed's configuration for one stage; ``config.deepspeed`` is merged over it.

    The reduce bucket is allocated whole (DeepSpeed's default of 5e8 elements is 2 GB), so it is sized by the model: an
    eighth of what trains, the largest parameter at least. No scheduler and no optimizer: both are ours.
    """
    bucket = min(MAX_BUCKET, max(largest_param, trainable_params // 8, 1))
    zero: dict[str, Any] = {
        "stage": config.zero_stage,
        "overlap_comm": on_gpu,
        "contiguous_gradients": True,
        "reduce_bucket_size": bucket,
    }
    if config.zero_stage == 3:
        zero["stage3_prefetch_bucket_size"] = int(0.9 * bucket)
        # what persists is gathered one by one after each step: over gloo that costs more than gathering by block
        zero["stage3_param_persistence_threshold"] = PERSIST if on_gpu else 0
        zero["zero_hpz_partition_size"] = config.hpz
        zero["zero_quantized_weights"] = config.quantized_weights
        zero["zero_quantized_gradients"] = config.quantized_gradients
    else:
        zero["allgather_bucket_size"] = bucket
    if config.offload == "cpu":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": on_gpu}
        zero["offload_param"] = {"device": "cpu", "pin_memory": on_gpu}
    own = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": micro_steps,
        "gradient_clipping": max_grad_norm,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
        "zero_optimization": zero,
    }
    if config.precision == "bf16":
        own["bf16"] = {"enabled": True, "check_grad_overflow": True}
    return _merged(own, config.deepspeed)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged
