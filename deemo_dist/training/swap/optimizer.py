"""An optimizer's state on a disk, by DeepSpeed's ZeRO-3 (``offload_optimizer`` with device ``nvme``), sub-group by
sub-group: the fp32 copies and both of Adam's moments. A sub-group of less than a mebibyte stays in memory.

Two things of DeepSpeed's swapper are replaced, for they give wrong numbers without a word (``files`` says how):
its files, and that gradients are swapped, of which it holds the sum in memory anyway.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from deemo_dist.errors import TrainingError
from deemo_dist.training.swap.files import ALIGNED, DirectFiles


@dataclass(frozen=True)
class SubGroup:
    """The ``number``-th sub-group of ZeRO-3's ``optimizer``, some of which may be on a disk."""

    optimizer: Any
    number: int

    @property
    def swapped(self) -> bool:
        """Whether it is on a disk between updates."""
        return bool(self.optimizer._swappable_optimizer_subgroup(self.number))

    @contextmanager
    def opened(self, write: bool) -> Iterator[None]:
        """Its state in memory, for a while; back on the disk as it then is, with ``write``."""
        if not self.swapped:
            yield
            return
        self.optimizer._optimizer_states_and_gradient_swap_in(self.number)
        try:
            yield
        finally:
            if write:
                self.optimizer._optimizer_states_and_gradient_swap_out(self.number)
            else:
                self.optimizer._release_swap_buffers(self.number)


def sub_group_of(optimizer: Any, parameter: nn.Parameter) -> tuple[SubGroup, int]:
    """The sub-group that a parameter's partition is in, and at which element of it."""
    number, start, _ = optimizer.grad_position[optimizer.get_param_id(parameter)]
    return SubGroup(optimizer, number), start


def held_gradient(optimizer: Any, parameter: nn.Parameter) -> Tensor | None:
    """This rank's partition of a swapped parameter's gradient, after the last backward pass of a step. None: it has
    none."""
    group, start = sub_group_of(optimizer, parameter)
    flat = optimizer.fp32_partitioned_groups_flat[group.number]
    held: dict[int, Tensor] = optimizer.optimizer_swapper.swap_params_info[flat.ds_id].unswapped_gradients
    return held.get(start)


def forget_gradients(optimizer: Any) -> None:
    """Let go of the gradients of an update that was left out."""
    for info in optimizer.optimizer_swapper.swap_params_info.values():
        info.release_unswapped_gradients()


@contextmanager
def ours() -> Iterator[None]:
    """Make DeepSpeed's ZeRO-3 take this module's swapper, for a while."""
    from deepspeed.runtime.zero import stage3

    theirs = stage3.PartitionedOptimizerSwapper
    stage3.PartitionedOptimizerSwapper = swapper_class()
    try:
        yield
    finally:
        stage3.PartitionedOptimizerSwapper = theirs


@cache
def swapper_class() -> Any:
    """DeepSpeed's swapper, with files that tell of failures and gradients that stay in memory."""
    from deepspeed.runtime.swap_tensor.async_swapper import AsyncTensorSwapper
    from deepspeed.runtime.swap_tensor.optimizer_utils import OptimizerSwapper
    from deepspeed.runtime.swap_tensor.partitioned_optimizer_swapper import PartitionedOptimizerSwapper

    class Swapper(PartitionedOptimizerSwapper):
        """What ZeRO-3 asks of its ``optimizer_swapper``."""

        def __init__(
            self, swap_config: Any, aio_config: Any, base_folder: str, optimizer: Any, largest_numel: int, device: Any,
            dtype: torch.dtype, timers: Any,
        ) -> None:  # fmt: skip
            # not their class's own, which loads the extension
            aligned = {**aio_config, "intra_op_parallelism": ALIGNED // 1024}
            OptimizerSwapper.__init__(
                self, swap_config, aligned, base_folder, optimizer, largest_numel, device, dtype, timers, DirectFiles()
            )
            self.gradient_swapper = AsyncTensorSwapper(self.aio_handle, self.numel_alignment, timers)

        def pre_backward(self) -> None:
            super().pre_backward()
            for info in self.swap_params_info.values():  # one that gets none has a gradient all the same, of zeros
                info.unswapped_gradients.setdefault(0, torch.empty(0))

        def swap_out_gradients(
            self, parameter: Tensor, gradient_offsets: Sequence[int], gradient_tensors: Sequence[Tensor]
        ) -> None:
            held = self.swap_params_info[self.parameter_id(parameter)].unswapped_gradients
            for offset, gradient in zip(gradient_offsets, gradient_tensors, strict=True):
                held[offset] = gradient.cpu()

        def _retrieve_unswapped_grad_partitions(self, swap_info: Any, dest_buffer: Tensor) -> None:
            if sum(each.numel() for each in swap_info.unswapped_gradients.values()) < dest_buffer.numel():
                dest_buffer.zero_()  # it holds another sub-group's state
            super()._retrieve_unswapped_grad_partitions(swap_info, dest_buffer)

        def _swap_out_optimizer_state(self, swap_info: Any) -> None:
            with _told(self.swap_folder):
                super()._swap_out_optimizer_state(swap_info)

        def _swap_in_parameter(self, aio_handle: Any, parameter: Tensor, dest_buffers: Sequence[Tensor]) -> None:
            with _told(self.swap_folder):
                super()._swap_in_parameter(aio_handle, parameter, dest_buffers)

        def _initialize_parameters(self, parameters: Any, src_tensors: Any, aio_handle: Any) -> None:
            with _told(self.swap_folder):
                super()._initialize_parameters(parameters, src_tensors, aio_handle)

    return Swapper


@contextmanager
def _told(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"the optimizer's state cannot be swapped to {folder}: {error.strerror or error}",
            hint="look at that disk; run the same command to go on from the last checkpoint",
        ) from error
