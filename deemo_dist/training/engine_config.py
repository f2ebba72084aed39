"""The typed engine configuration as DeepSpeed's own dictionary. Pure."""

from collections.abc import Mapping
from typing import Any

from deemo_dist.config import EngineConfig
from deemo_dist.errors import TrainingError

MAX_BUCKET = 500_000_000
PERSIST = 100_000
MIN_SUB_GROUP, MAX_SUB_GROUP = 2**18, 50_000_000
"""Elements of a rank that are swapped in at once: DeepSpeed leaves less than a mebibyte in memory, and takes four
buffers of the largest."""
QUANTISED = 8
"""Elements that DeepSpeed's kernel quantises at once."""

OURS = {
    "optimizer": "the optimizer is ours: lr and weight_decay of a stage's rules",
    "scheduler": "the schedule is ours: schedule and warmup of a stage",
    "train_batch_size": "packs_per_step of a stage",
    "train_micro_batch_size_per_gpu": "packs_per_step of a stage",
    "gradient_accumulation_steps": "packs_per_step of a stage",
    "gradient_clipping": "max_grad_norm of a stage",
    "bf16": "engine.precision=bf16",
    "bfloat16": "engine.precision=bf16",
    "amp": "engine.precision=bf16",
    "torch_autocast": "engine.precision=bf16",
    "data_types": "gradients are summed in fp32",
    "zero_allow_untested_optimizer": "leave it out",
    "zero_force_ds_cpu_optimizer": "leave it out",
    "activation_checkpointing": "engine.gradient_checkpointing",
    "checkpoint": "engine.checkpoint_every",
    "aio": "leave it out: what is swapped to a disk goes there by files of our own",
    "zero_optimization.stage": "engine.zero_stage",
    "zero_optimization.offload_param": "engine.offload",
    "zero_optimization.offload_optimizer": "engine.offload",
    "zero_optimization.cpu_offload": "engine.offload",
    "zero_optimization.zero_hpz_partition_size": "engine.hpz",
    "zero_optimization.zero_quantized_weights": "engine.quantized_weights",
    "zero_optimization.zero_quantized_gradients": "engine.quantized_gradients",
}
"""Keys of DeepSpeed's configuration that are set here, and what sets them."""


def check(config: EngineConfig, *, world: int, on_gpu: bool) -> None:
    """Refuse what the engine cannot do on so many ranks. Raises ``TrainingError``."""
    _check_own_keys(config.deepspeed)
    if config.zero_stage == 0:
        raise TrainingError("engine.zero_stage 0 is not supported", hint="stage 1 replicates the parameters as well")
    if config.precision == "bf16" and config.zero_stage < 2:
        raise TrainingError(
            "engine.precision bf16 needs ZeRO stage 2 or 3: under stage 1 gradients are not summed in fp32",
            hint="set engine.zero_stage to 2 or 3",
        )
    if config.partition_at_build and config.zero_stage != 3:
        raise TrainingError("engine.partition_at_build needs ZeRO stage 3", hint="set engine.zero_stage to 3")
    if config.offload != "none" and config.zero_stage != 3:
        raise TrainingError(f"engine.offload {config.offload} needs ZeRO stage 3", hint="set engine.zero_stage to 3")
    if config.offload == "nvme" and not config.nvme_path:
        raise TrainingError(
            "engine.offload nvme needs engine.nvme_path, a folder on a local disk of every node",
            hint="engine.nvme_path=/local/scratch, or engine.offload=cpu",
        )
    if config.hpz < 1 or world % config.hpz or (config.hpz > 1 and config.zero_stage != 3):
        raise TrainingError(
            f"engine.hpz {config.hpz} does not go with {world} ranks of ZeRO stage {config.zero_stage}",
            hint="the ranks of one node, under ZeRO stage 3; 1 for none",
        )
    if config.quantized_gradients:
        raise TrainingError(
            "engine.quantized_gradients is not supported: DeepSpeed's kernel reads every gradient as fp16, and these "
            "are bf16 or fp32",
            hint="leave it out; engine.quantized_weights and engine.hpz save traffic too",
        )
    if config.quantized_weights and not (on_gpu and config.zero_stage == 3):
        raise TrainingError("engine.quantized_weights needs GPUs and ZeRO stage 3", hint="leave it out here")


def check_quantised(config: EngineConfig, sizes: Mapping[str, int], *, world: int) -> None:
    """Refuse ``quantized_weights`` for parameters (elements by name) that its kernel cannot cut among so many ranks:
    it takes multiples of 8, and a padded one would be scaled by the wrong groups. Raises ``TrainingError``."""
    step = QUANTISED * world
    unfit = [name for name, size in sizes.items() if size % step]
    if config.quantized_weights and unfit:
        raise TrainingError(
            f"engine.quantized_weights cannot send {unfit[0]}: its {sizes[unfit[0]]} elements are no multiple of "
            f"{QUANTISED} on each of {world} ranks (nor are those of {len(unfit) - 1} more)",
            hint="leave it out for this model; engine.hpz saves traffic too",
        )


def _check_own_keys(own: Mapping[str, Any]) -> None:
    """Refuse what would undo the settings made here. Raises ``TrainingError``."""
    if "fp16" in own or "float16" in own:
        raise TrainingError(
            "engine.deepspeed.fp16 is refused: the activations of Llama-like models leave the range of fp16, with a "
            "fixed loss scale or without",
            hint="engine.precision=bf16",
        )
    zero = own.get("zero_optimization")
    inner = zero if isinstance(zero, Mapping) else {}
    for key in (*own, *(f"zero_optimization.{name}" for name in inner)):
        if key in OURS:
            raise TrainingError(f"engine.deepspeed.{key} would undo what is set elsewhere", hint=OURS[key])


def deepspeed_config(
    config: EngineConfig,
    *,
    micro_steps: int,
    max_grad_norm: float,
    largest_param: int,
    largest_trained: int,
    trainable_params: int,
    on_gpu: bool,
    swap_folder: str = "",
) -> dict[str, Any]:
    """DeepSpeed's configuration for one stage; ``config.deepspeed`` is merged over it. ``swap_folder``: this rank's
    own, where ``engine.offload`` is nvme.

    The reduce bucket is allocated whole (DeepSpeed's default of 5e8 elements is 2 GB), so it is sized by what trains:
    an eighth of it, its largest parameter at least; what is gathered ahead by the largest of all. No scheduler and no
    optimizer: both are ours.
    """
    bucket = min(MAX_BUCKET, max(largest_trained, trainable_params // 8, 1))
    ahead = min(MAX_BUCKET, max(largest_param, trainable_params // 8, 1))
    own: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": micro_steps,
        "gradient_clipping": max_grad_norm,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
        "zero_optimization": _zero(config, bucket, ahead, on_gpu),
    }
    if config.offload == "nvme":
        swapped = min(MAX_SUB_GROUP, max(MIN_SUB_GROUP, trainable_params // 16))
        own["zero_optimization"]["sub_group_size"] = swapped
        own["zero_optimization"]["offload_optimizer"] |= {
            "device": "nvme",
            "nvme_path": swap_folder or config.nvme_path,
        }
    if config.precision == "bf16":
        own["bf16"] = {"enabled": True, "check_grad_overflow": True}
        # by default gradients are added up, over micro-steps and ranks, in the working precision
        own["data_types"] = {"grad_accum_dtype": "fp32"}
        own["communication_data_type"] = "fp32"
    return _merged(own, config.deepspeed)


def _zero(config: EngineConfig, bucket: int, ahead: int, on_gpu: bool) -> dict[str, Any]:
    """How ZeRO cuts, reduces, gathers and offloads, by buckets of so many elements."""
    zero: dict[str, Any] = {
        "stage": config.zero_stage,
        "overlap_comm": on_gpu,
        "contiguous_gradients": True,
        "reduce_bucket_size": bucket,
    }
    if config.zero_stage == 3:
        zero["stage3_prefetch_bucket_size"] = int(0.9 * ahead)
        # what persists is gathered one by one after each step: over gloo that costs more than gathering by block
        zero["stage3_param_persistence_threshold"] = PERSIST if on_gpu else 0
        zero["zero_hpz_partition_size"] = config.hpz
        zero["zero_quantized_weights"] = config.quantized_weights
    else:
        zero["allgather_bucket_size"] = bucket
    if config.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": on_gpu}
        zero["offload_param"] = {"device": "cpu", "pin_memory": on_gpu}
    return zero


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged
