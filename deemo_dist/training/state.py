"""What earlier stages trained, loaded into a model out of their commits: file by file, range by range."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from deemo_dist.errors import CorruptDataError, ModelError
from deemo_dist.records.adapters import plain_name
from deemo_dist.training.checkpoint.layout import Commit, Fragment, overlap, partition
from deemo_dist.training.checkpoint.restore import read_parts
from deemo_dist.training.trainable import shape_of

if TYPE_CHECKING:
    from deemo_dist.storage import Store


@dataclass(frozen=True, kw_only=True)
class _Range:
    """Elements [offset, offset + count) of a parameter of ``shape`` as this process holds them, flat."""

    shape: tuple[int, ...]
    offset: int
    count: int
    held: torch.Tensor


def load_trained(
    model: nn.Module,
    store: "Store",
    commits: Iterable[Commit],
    *,
    rank: int = 0,
    world: int = 1,
    tick: Callable[[], None] = lambda: None,
) -> frozenset[str]:
    """Lay what ``commits`` trained over the model, later ones over earlier ones; the plain names of it. Whole
    parameters are filled whole, those that are cut among ``world`` ranks where ``rank`` holds them; of the files those
    are read that meet what is held, one at a time, ``tick`` after each. A weight under an adapter goes by the name that
    it has without.

    Raises ``ModelError`` for a name that the model does not have, or another shape, ``CorruptDataError`` for a file
    that does not match its digest or lacks elements.
    """
    ranges = {plain_name(name): _range(each, rank, world) for name, each in model.named_parameters()}
    for name, each in model.named_parameters(remove_duplicate=False):
        ranges.setdefault(plain_name(name), _range(each, rank, world))
    found: frozenset[str] = frozenset()
    for commit in commits:
        found |= _load(ranges, store, commit, tick)
    return found


def _range(parameter: Any, rank: int, world: int) -> _Range:
    """What of a parameter is held here. ZeRO's local tensors carry padding behind the last element."""
    shape = shape_of(parameter)
    if hasattr(parameter, "ds_id"):
        parameter.ds_secondary_tensor = None  # a copy among the ranks of a node, made anew when it is next cut
        offset, count = partition(parameter.ds_numel, world, rank)
        return _Range(shape=shape, offset=offset, count=count, held=parameter.ds_tensor.detach()[:count])
    if not parameter.is_contiguous():
        parameter.data = parameter.data.contiguous()
    return _Range(shape=shape, offset=0, count=parameter.numel(), held=parameter.detach().view(-1))


def _load(ranges: dict[str, _Range], store: "Store", commit: Commit, tick: Callable[[], None]) -> frozenset[str]:
    """One commit's share, by plain name."""
    missing: dict[str, int] = {}

    def wanted(pieces: Sequence[Fragment]) -> bool:
        return any(_common(piece, _held(ranges, missing, piece))[1] for piece in pieces)

    for part, tensors in read_parts(store, commit, wanted):
        for piece in part.fragments:
            own = _held(ranges, missing, piece)
            start, count = _common(piece, own)
            if count:
                source = tensors[f"{piece.name}/fp32"][start - piece.offset :][:count]
                own.held[start - own.offset :][:count].copy_(source)
                missing[plain_name(piece.name)] -= count
        tick()
    short = [name for name, count in missing.items() if count]
    if short:
        raise CorruptDataError(f"the checkpoint at step {commit.step} lacks elements of {short[0]}")
    return frozenset(missing)


def _held(ranges: dict[str, _Range], missing: dict[str, int], piece: Fragment) -> _Range:
    name = plain_name(piece.name)
    own = ranges.get(name)
    if own is None:
        raise ModelError(f"the model has no parameter '{name}'", hint="the state belongs to another model")
    if piece.shape != own.shape:
        raise ModelError(f"'{name}' has shape {piece.shape}, the model wants {own.shape}")
    missing.setdefault(name, own.count)
    return own


def _common(piece: Fragment, own: _Range) -> tuple[int, int]:
    return overlap(piece.offset, piece.numel, own.offset, own.count)
