"""Parameters cut among the ranks while a model is built (ZeRO-3), so that none ever holds it whole."""

import ctypes
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from deemo_dist.errors import ModelError
from deemo_dist.model.placing import Placing
from deemo_dist.training.ranks import Ranks, import_deepspeed

TRIM_EVERY = 8_000_000
"""Bytes of whole parameters that were let go, from one time that the C library's free memory is given back to the
next."""


class Cut(Placing):
    """DeepSpeed's partitioning, by ``settings`` (its configuration), parameter by parameter; the first rank reads.
    What is cut holds ``dtype`` (the working precision) without loss, whatever a part's own configuration says.

    zero.Init itself is entered around nothing, for the linear function that it puts in place (it saves the parameter
    for the backward pass, not the gathered weight): its patches of every module's ``__init__`` and of
    ``Tensor.__new__`` break towers of transformers.
    """

    cuts = True

    def __init__(self, settings: dict[str, Any], ranks: Ranks, dtype: torch.dtype) -> None:
        self.ranks = ranks
        self.dtype = dtype
        self.reads = ranks.rank == 0
        deepspeed = import_deepspeed()
        from deepspeed.utils import groups

        self.init = deepspeed.zero.Init(
            config_dict_or_path=settings,
            tensor_overrides=(),
            # of ZeRO++'s second copy: made once a process, by an earlier stage
            zero_param_parallel_group=groups._get_zero_param_intra_parallel_group(),
        )
        with self.init:
            pass
        self.freed = 0

    def keep(self, parameters: Iterable[nn.Parameter]) -> None:
        """Cut the parameters. A collective."""
        new = [parameter for parameter in parameters if not hasattr(parameter, "ds_id")]
        for parameter in new:
            if parameter.is_floating_point():
                parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, self.dtype))
        size = sum(parameter.nbytes for parameter in new)
        self.init._convert_to_zero_parameters(new)
        self._let_go(size)

    @contextmanager
    def whole(self, tensors: Sequence[Tensor], *, of_first: bool = False) -> Iterator[None]:
        """Gather them, and cut them again with what they hold then."""
        cut: list[Any] = [tensor for tensor in tensors if hasattr(tensor, "ds_id")]
        if cut:
            cut[0].all_gather(cut)
        for tensor in cut:  # where a model that is not cut is built: a GPU's generator gives other values
            tensor.data = tensor.data.cpu()
        try:
            yield
        finally:
            for tensor in cut:
                tensor.data = tensor.data.to(self.ranks.device)
            if of_first and self.ranks.world > 1:
                for tensor in tensors:
                    sent = tensor.data.to(self.ranks.device)
                    dist.broadcast(sent, src=0)
                    tensor.data.copy_(sent)
            if cut:
                size = sum(tensor.nbytes for tensor in cut)
                cut[0].partition(cut, has_been_updated=True)
                self._let_go(size)

    def finish(self, job: Future[Any] | None) -> None:
        """The ranks meet every second meanwhile."""
        self.ranks.finish(job)

    def agree(self, error: ModelError | None) -> None:
        """The first rank's error, on all."""

        def decide() -> None:
            if error is not None:
                raise error

        self.ranks.decided_by_first(decide)

    def _let_go(self, size: int) -> None:
        """glibc keeps freed blocks of up to 32 MB to itself, and their parts lie between them: without giving the holes
        back a rank would keep as much as the whole model takes."""
        self.freed += size
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if self.freed >= TRIM_EVERY and trim is not None:
            self.freed = 0
            trim(0)
