"""The engine of one stage: a DeepSpeed ZeRO engine, with the few operations that the loop needs.

Gradients are averaged by DeepSpeed over ranks (R) and micro-steps (M). The model divides the sum of its token losses by
``num_items_in_batch``; given targets / (R * M), the average is the loss per target token of the whole global step.
"""

import gc
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from deemo_dist.config import EngineConfig, StageConfig, TrainRule
from deemo_dist.errors import CheckpointError, DeemoError
from deemo_dist.training.checkpoint.buffers import MakeBuffer
from deemo_dist.training.checkpoint.snapshot import LocalFragment
from deemo_dist.training.engine_config import check, check_quantised, deepspeed_config
from deemo_dist.training.fragments import adam_states, local_fragments, refresh
from deemo_dist.training.leaves import mark_leaves
from deemo_dist.training.modes import train_mode
from deemo_dist.training.partitioned import settle_cut, working
from deemo_dist.training.ranks import Ranks, import_deepspeed
from deemo_dist.training.schedule import micro_steps
from deemo_dist.training.swap.folder import SwapFolder, removed_on_failure, swap_folder
from deemo_dist.training.swap.optimizer import forget_gradients, ours, sub_group_of
from deemo_dist.training.trainable import Trainable, apply_rules, size_of

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Engine:
    """A model under ZeRO with its optimizer. ``updates``: how many optimizer updates were applied so far."""

    def __init__(
        self,
        deepspeed_engine: Any,
        trainable: Trainable,
        ranks: Ranks,
        *,
        micro: int,
        zero_stage: int,
        swap: SwapFolder | None = None,
    ) -> None:
        self.deepspeed = deepspeed_engine
        self.trainable = trainable
        self.ranks = ranks
        self.micro = micro
        self.zero_stage = zero_stage
        self.swap = swap
        self.updates = 0
        self.base_lr = tuple(group.lr for group in trainable.groups)
        self.labels = tuple(group.label for group in trainable.groups)
        self.set_updates(0)

    @property
    def module(self) -> nn.Module:
        """The model, its parameters partitioned."""
        module = self.deepspeed.module
        assert isinstance(module, nn.Module)
        return module

    def train_mode(self) -> None:
        """Training mode for what trains; frozen parts stay in evaluation mode."""
        train_mode(self.module)

    def loss(self, batch: Mapping[str, Any], *, targets: int) -> torch.Tensor:
        """Forward of one micro-batch: its token losses summed, times R * M / targets. A scalar with a graph."""
        items = targets / (self.ranks.world * self.micro)
        output = self.deepspeed(**self._placed(batch), num_items_in_batch=items)
        loss = output.loss
        assert isinstance(loss, torch.Tensor)
        return loss

    def backward(self, loss: torch.Tensor, *, last: bool) -> None:
        """Accumulate the gradients of one micro-batch; ``last`` of its global step or not."""
        self.deepspeed.backward(loss)
        if not last:
            self.deepspeed.step()

    def step(self, lr_factor: float) -> tuple[float, bool]:
        """Clip, update at ``lr_factor`` of the base rates. Returns the gradient norm before clipping (inf when it was
        not finite) and whether the update was applied."""
        for group, lr in zip(self.deepspeed.optimizer.param_groups, self.base_lr, strict=True):
            group["lr"] = lr * lr_factor
        self.deepspeed.step()
        applied = bool(self.deepspeed.was_step_applied())
        self.updates += applied
        if self.swap is not None and not applied:
            forget_gradients(self.deepspeed.optimizer)
        norm = self.deepspeed.get_global_grad_norm()
        return (math.inf if norm is None else float(norm)), applied

    def lr(self) -> dict[str, float]:
        """The optimizer's learning rates by group, as of the last step."""
        groups = self.deepspeed.optimizer.param_groups
        return {label: float(group["lr"]) for label, group in zip(self.labels, groups, strict=True)}

    def fragments(self) -> list[LocalFragment]:
        """What this rank owns of the trained parameters and of their optimizer state."""
        return local_fragments(self)

    @property
    def make_buffer(self) -> MakeBuffer:
        """What gives room for a copy of the state: where the state itself is, in memory or on the disk."""
        return self.swap.buffer if self.swap is not None else bytearray

    def swaps(self, parameter: nn.Parameter) -> bool:
        """Whether a trained parameter's optimizer state is on a disk."""
        return self.swap is not None and sub_group_of(self.deepspeed.optimizer, parameter)[0].swapped

    def set_updates(self, updates: int) -> None:
        """Give Adam the number of updates so far, with moments that exist (zero unless set since)."""
        self.updates = updates
        adam_states(self.deepspeed.optimizer, updates)

    def refresh(self) -> None:
        """After the fp32 partitions were set: bring the working copies in line. A collective."""
        refresh(self.deepspeed.optimizer, self.zero_stage)

    def destroy(self) -> None:
        """Remove DeepSpeed's hooks and let its memory and disk go. The model cannot be trained again."""
        if self.swap is not None:
            self.deepspeed.optimizer.optimizer_swapper.aio_handle.close()
            self.swap.remove()
        self.deepspeed.destroy()
        for parameter in self.module.parameters():
            parameter.__dict__.pop("_z3_optimizer", None)
        _forget(self.module)
        self.deepspeed.optimizer = self.deepspeed.basic_optimizer = None
        gc.collect()

    def _placed(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch on this rank's device, of the types that it has: the towers cast what they are given."""
        if self.ranks.device.type == "cpu":
            return dict(batch)
        return {
            name: value.to(self.ranks.device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in batch.items()
        }


def build_engine(
    source: nn.Module | Callable[[], nn.Module],
    stage: StageConfig,
    config: EngineConfig,
    ranks: Ranks,
    *,
    load: Callable[[nn.Module], object] | None = None,
    before: Sequence[Mapping[str, TrainRule]] = (),
) -> Engine:
    """Make the model, set what trains, ``load`` what earlier stages trained, and partition it all. A collective.
    ``before``: the rules of the stages before, whose adapters the model takes over.

    Raises ``TrainingError``: settings that do not work, more ranks than packs, a pattern that matches nothing.
    """
    check(config, world=ranks.world, on_gpu=ranks.device.type != "cpu")
    micro_steps(stage.packs_per_step, ranks.world)  # refuses before anything is built
    model = source if isinstance(source, nn.Module) else _built(source, config, ranks)
    trainable = apply_rules(model, stage.trains, before=before)
    if load is not None:
        _together(lambda: load(model), ranks)
    if config.partition_at_build:
        settle_cut(model, working(config), ranks.device)
    if config.gradient_checkpointing:
        _checkpoint_activations(model)
    sizes = {name: size_of(parameter) for name, parameter in model.named_parameters()}
    check_quantised(config, sizes, world=ranks.world)
    trained = [sizes[name] for group in trainable.groups for name in group.names]
    swap = swap_folder(config.nvme_path, trained, ranks) if config.offload == "nvme" else None
    with removed_on_failure(swap):
        return _engine(model, trainable, sizes, stage, config, ranks, swap)


def _engine(
    model: nn.Module,
    trainable: Trainable,
    sizes: Mapping[str, int],
    stage: StageConfig,
    config: EngineConfig,
    ranks: Ranks,
    swap: SwapFolder | None,
) -> Engine:
    """DeepSpeed's engine around the model."""
    micro = micro_steps(stage.packs_per_step, ranks.world)
    settings = deepspeed_config(
        config,
        micro_steps=micro,
        max_grad_norm=stage.max_grad_norm,
        largest_param=max(sizes.values()),
        largest_trained=max(sizes[name] for group in trainable.groups for name in group.names),
        trainable_params=trainable.trainable,
        on_gpu=ranks.device.type != "cpu",
        swap_folder=str(swap.path) if swap is not None else "",
    )
    deepspeed = import_deepspeed()
    if config.zero_stage == 3:
        mark_leaves(model)
    optimizer = _optimizer(model, trainable, config, ranks)
    with ours() if swap is not None else nullcontext():
        engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings, dist_init_required=False)
    return Engine(engine, trainable, ranks, micro=micro, zero_stage=config.zero_stage, swap=swap)


def _built(make: Callable[[], nn.Module], config: EngineConfig, ranks: Ranks) -> nn.Module:
    """The model, cut among the ranks as it is built where the configuration says so."""
    if not config.partition_at_build:
        return make()
    from deemo_dist.model.placing import placing
    from deemo_dist.training.placing import Cut

    settings = deepspeed_config(
        config,
        micro_steps=1,
        max_grad_norm=0.0,
        largest_param=1,
        largest_trained=1,
        trainable_params=1,
        on_gpu=ranks.device.type != "cpu",
    )
    settings["train_batch_size"] = ranks.world
    cut = Cut(settings, ranks, working(config))
    with placing(cut):
        model = make()
    cut.keep(model.parameters())
    return model


def _forget(model: nn.Module) -> None:
    """Take a model out of what DeepSpeed keeps for the process's life, and with it, by its hooks, the engine with all
    its partitions: the stack of running modules, where ZeRO-3 leaves it, and a cache of what to release when."""
    from deepspeed.runtime.zero import parameter_offload
    from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator as Coordinator

    own = set(map(id, model.modules()))
    stack = parameter_offload.FWD_MODULE_STACK
    stack[:] = [module for module in stack if id(module) not in own]
    wrapper = Coordinator._PartitionedParameterCoordinator__params_to_release
    inspect.getclosurevars(wrapper).nonlocals["func"].cache_clear()


def _together(load: Callable[[], object], ranks: Ranks) -> None:
    """Load on every rank, however long one takes; where one cannot, all raise."""
    error: DeemoError | None = None
    job = ranks.apart(load)
    try:
        job.result()
    except DeemoError as found:
        error = found
    if not ranks.all_agree(error is None):
        raise error or CheckpointError("another rank could not read what earlier stages trained")


def _optimizer(model: nn.Module, trainable: Trainable, config: EngineConfig, ranks: Ranks) -> Any:
    """torch's AdamW on a CPU (DeepSpeed's would be compiled for minutes), DeepSpeed's fused ones beside a GPU."""
    parameters = dict(model.named_parameters())
    groups = [
        {"params": [parameters[name] for name in group.names], "lr": group.lr, "weight_decay": group.weight_decay}
        for group in trainable.groups
    ]
    if ranks.device.type == "cpu":
        return torch.optim.AdamW(groups, betas=BETAS, eps=EPSILON)
    import_deepspeed()
    from deepspeed.ops.adam import DeepSpeedCPUAdam, FusedAdam

    kind = FusedAdam if config.offload == "none" else DeepSpeedCPUAdam
    return kind(groups, betas=BETAS, eps=EPSILON)


def _checkpoint_activations(model: nn.Module) -> None:
    enable = getattr(model, "gradient_checkpointing_enable", None)
    if enable is not None:
        enable(gradient_checkpointing_kwargs={"use_reentrant": False})
