"""What is asked of the model, what trains in each stage, and how the training process runs."""

from dataclasses import dataclass, field
from typing import Any, Literal

from deemo_dist.config.fields import operational, partly_operational
from deemo_dist.config.schema.data import MixConfig


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """A question and its answer, as templates over an annotation: ``{label.emotion}``, ``{text.reasoning}``,
    ``{transcript}``, ``{nfbl}``. ``choices``: the closed set of answers, empty for free text."""

    prompt: str
    answer: str
    choices: tuple[str, ...] = ()
    modalities: tuple[Literal["video", "audio", "cues", "text"], ...] = ("video", "audio", "cues", "text")


@dataclass(frozen=True, kw_only=True)
class TrainRule:
    """What happens to the parameters a pattern matches: ``frozen``, trained in ``full`` at ``lr`` with
    ``weight_decay``, or frozen under adapters that train so (``lora``, arXiv 2106.09685).

    ``rank``, ``alpha`` and ``dropout`` of an adapter; ``targets``: the linear layers that get one, by the last part of
    their name (``q_proj``) or by all of it, fnmatch patterns both.
    """

    mode: Literal["frozen", "full", "lora"] = "full"
    lr: float = 1e-3
    weight_decay: float = 0.0
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("*",)


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One training phase. ``trains``: fnmatch patterns over parameter names -> rule; the last match wins, no match is
    frozen. ``modality_dropout``: chance by which each modality is left out of an example (never all of them).

    ``early_stop``: the stage ends, with its best weights, after so many validations that brought nothing better (0:
    never). ``spike``: an update is left out where its loss lies so many standard deviations of the noise above the
    recent ones, and a nat at least (0: only where it is not finite). ``mix``: the datasets it is fed, ``name/version``
    to the share of each (none: the run's own one). ``overlong``: an example that no pack can hold ends the planning, or
    is left out, which is counted. Nothing is ever cut.
    """

    tasks: tuple[str, ...]
    trains: dict[str, TrainRule]
    epochs: int = 1
    packs_per_step: int = 8
    max_tokens: int = 2048
    max_frames: int = 256
    max_audio_seconds: float = 120.0
    overlong: Literal["refuse", "leave_out"] = "refuse"
    schedule: Literal["cosine", "constant", "wsd"] = "cosine"
    warmup: float = 0.05
    max_grad_norm: float = 1.0
    modality_dropout: float = 0.0
    window: int = 20_000
    validate_every: int = 0
    validation_packs: int = 8
    early_stop: int = 0
    spike: float = 8.0
    mix: dict[str, MixConfig] = field(default_factory=dict)


SPEED_ONLY = {
    "": {
        "comms_logger", "dump_state", "flops_profiler", "memory_breakdown", "steps_per_print", "wall_clock_breakdown",
    },
    "zero_optimization": {
        "allgather_bucket_size", "allgather_partitions", "allgather_sequential", "contiguous_gradients",
        "max_live_parameters", "max_reuse_distance", "model_persistence_threshold", "overlap_comm",
        "param_persistence_threshold", "prefetch_bucket_size", "reduce_bucket_size", "reduce_scatter",
        "round_robin_gradients", "stage3_max_live_parameters", "stage3_max_reuse_distance",
        "stage3_model_persistence_threshold", "stage3_module_granularity_threshold",
        "stage3_param_persistence_threshold", "stage3_prefetch_bucket_size", "sub_group_size",
        "use_all_reduce_for_fetch_params",
    },
}  # fmt: skip
"""Keys of DeepSpeed's configuration that change how fast a training runs, and nothing of what it computes."""


def changes_results(deepspeed: dict[str, Any]) -> dict[str, Any]:
    """What of ``engine.deepspeed`` may change what is computed."""
    found = {}
    for key, value in deepspeed.items():
        speed = SPEED_ONLY.get(key)
        if speed is not None and isinstance(value, dict):
            value = {name: own for name, own in value.items() if name not in speed}
        if key not in SPEED_ONLY[""] and (speed is None or value):
            found[key] = value
    return found


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How the training process runs. ``ranks`` here are local; a launcher's placement wins.

    ZeRO++ (arXiv 2306.10209): ``hpz`` ranks (those of a node) keep a second copy of the parameters among them, so that
    the backward pass gathers inside the node; ``quantized_weights`` are sent in fewer bits, where the size of every
    parameter is a multiple of 8 times the ranks; ``quantized_gradients`` are refused (DeepSpeed takes fp16 alone).
    ``partition_at_build``: parameters are cut among the ranks while the model is built, and stored weights read by one
    rank, tensor by tensor, for a model that not every rank can hold (same values, a slower start; ZeRO-3).
    ``offload``: ``cpu`` keeps parameters, gradients and the optimizer's state in the host's memory; ``nvme`` the state
    on a local disk, in ``nvme_path`` (a folder of every node, where each rank makes one of its own and removes it), and
    the rest in the host's memory: parameters are not swapped to a disk. Both need ZeRO-3.
    ``deterministic``: on a GPU, the same bits for the same ranks; an operation that has no such form ends the run, or
    with ``tolerate_nondeterminism`` warns.
    ``deepspeed``: keys of DeepSpeed's own configuration, merged over ours; those that change speed alone
    (``SPEED_ONLY``) are operational.
    ``watchdog_seconds``: for so long may no rank get on (0: for ever); outside of steps its work counts as well.
    ``preflight``: the doctor's checks before the first step. ``profile``: steps that are traced, into
    ``profile_folder`` on each rank's machine.
    """

    ranks: int = operational(2)
    threads: int = operational(1)
    zero_stage: Literal[0, 1, 2, 3] = 3
    precision: Literal["fp32", "bf16"] = "fp32"
    deterministic: bool = True
    tolerate_nondeterminism: bool = operational(False)
    gradient_checkpointing: bool = False
    offload: Literal["none", "cpu", "nvme"] = operational("none")
    nvme_path: str = operational("")
    partition_at_build: bool = operational(False)
    hpz: int = operational(1)
    quantized_weights: bool = False
    quantized_gradients: bool = False
    deepspeed: dict[str, Any] = partly_operational(changes_results, factory=dict)
    timeout_seconds: float = operational(600.0)
    watchdog_seconds: float = operational(300.0)
    preflight: bool = operational(True)
    profile: tuple[int, ...] = operational(())
    profile_folder: str = operational("build/profiles")
    checkpoint_every: int = operational(50)
    keep_checkpoints: int = operational(2)
    loader_workers: int = operational(0)
    loader_kind: Literal["process", "thread"] = operational("process")
    prefetch: int = operational(4)
