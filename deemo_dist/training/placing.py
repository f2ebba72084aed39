"""Parameters cut among the ranks while a model is built (ZeRO-3), so that none ever holds it whole."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from deemo_dist.errors import ModelError
from deemo_dist.model.placing import Placing
from deemo_dist.training.ranks import Ranks, import_deepspeed


class Cut(Placing):
    """DeepSpeed's partitioning, by ``settings`` (its configuration), parameter by parameter; the first rank reads.

    zero.Init itself is entered around nothing, for the linear function that it puts in place (it saves the parameter
    for the backward pass, not the gathered weight): its patches of every module's ``__init__`` and of
    ``Tensor.__new__`` break towers of transformers.
    """

    cuts = True

    def __init__(self, settings: dict[str, Any], ranks: Ranks) -> None:
        self.ranks = ranks
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

    def keep(self, parameters: Iterable[nn.Parameter]) -> None:
        """Cut the parameters. A collective."""
        self.init._convert_to_zero_parameters(parameters)

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
                cut[0].partition(cut, has_been_updated=True)

    def agree(self, error: ModelError | None) -> None:
        """The first rank's error, on all."""

        def decide() -> None:
            if error is not None:
                raise error

        self.ranks.decided_by_first(decide)
