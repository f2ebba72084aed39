"""Loading one pack, in two parts: reading its members, and making the batch of them. Done in any process or thread."""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from deemo_dist.dataset.door import Door
from deemo_dist.dataset.media import Files, decode_example, read_members
from deemo_dist.environ import gpus
from deemo_dist.errors import DatasetError
from deemo_dist.records import Example, LoadedExample
from deemo_dist.records.consumed import fed_name


class Packer(Protocol):
    """The part of a processor that the loader calls, in its workers: picklable where these are processes."""

    def pack(self, examples: Sequence[LoadedExample]) -> dict[str, Any]:
        """One padding-free batch."""
        ...

    def null_pack(self) -> dict[str, Any]:
        """A batch that weighs nothing."""
        ...


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A batch, the bytes of media it was made of, and the names of the examples in it (``fed_name``), by the objects
    that were packed."""

    batch: dict[str, Any]
    bytes: float
    fed: tuple[str, ...] = ()


@dataclass(frozen=True)
class PackLoading:
    """Examples of one pack to a batch. ``prefix``: the dataset of those that name no other; ``frames``: video frames
    each gets (None: all)."""

    store: Door
    prefix: str
    processor: Packer
    frames: int | None

    def read(self, examples: tuple[Example, ...]) -> Files:
        """The members that the examples show, each checked by its digest."""
        by_place: dict[str, list[Example]] = defaultdict(list)
        for example in examples:
            by_place[example.prefix or self.prefix].append(example)
        files: Files = {}
        for prefix, found in by_place.items():
            files.update(read_members(found, self.store, prefix))
        return files

    def make(self, examples: tuple[Example, ...], files: Files) -> Loaded:
        """Decode and pack; no examples make a null pack. Raises ``DatasetError`` when the processor left one out."""
        if not examples:
            return Loaded(batch=self.processor.null_pack(), bytes=0.0)
        loaded = [decode_example(example, files, frames=self.frames) for example in examples]
        batch = self.processor.pack(loaded)
        _refuse_loss(batch, len(loaded))
        return Loaded(
            batch=batch,
            bytes=sum(item.figures["bytes"] for item in loaded),
            fed=tuple(fed_name(item.example.key, item.example.task) for item in loaded),
        )

    def whole(self, examples: tuple[Example, ...]) -> Loaded:
        """Read and make."""
        return self.make(examples, self.read(examples))


def _refuse_loss(batch: Mapping[str, Any], count: int) -> None:
    """A batch says by ``cu_seqlens`` ([n + 1]) how many examples are in it; one that does not is not judged."""
    ends = batch.get("cu_seqlens")
    if ends is not None and len(ends) - 1 != count:
        raise DatasetError(
            f"the processor put {len(ends) - 1} examples into a pack of {count}", hint="a processor drops none"
        )


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What a plan says of a pack's examples: ``tokens`` and ``targets`` (integers [n]), and which of them are shown
    ``whole`` (bool [n]): one with a modality dropped has the same targets, and no more tokens. ``measured``: the keys
    of the tables of lengths that say so."""

    tokens: np.ndarray
    targets: np.ndarray
    whole: np.ndarray
    measured: tuple[str, ...]


def refuse_unplanned(loaded: Loaded, planned: Planned, pack: str) -> None:
    """Raise ``DatasetError`` where a batch has not the tokens and targets that ``pack`` was planned with: the loss of
    the step would be divided by another number than it is summed over, or the pack be over its budget.

    A batch says its tokens by ``cu_seqlens`` ([n + 1]) and its targets by ``label_rows`` ([targets], each the place
    before one); one that does not is not judged.
    """
    if "cu_seqlens" not in loaded.batch or not loaded.fed:
        return
    ends = np.asarray(loaded.batch["cu_seqlens"])
    if len(ends) - 1 != len(planned.tokens):
        raise DatasetError(f"{pack}: {len(ends) - 1} examples are in it, and {len(planned.tokens)} by its plan")
    tokens = np.diff(ends)
    found = [("tokens", tokens, np.where(planned.whole, planned.tokens, np.minimum(tokens, planned.tokens)))]
    if "label_rows" in loaded.batch:
        places = np.asarray(loaded.batch["label_rows"]) + 1
        found.append(("targets", np.diff(np.searchsorted(places, ends)), planned.targets))
    for what, made, said in found:
        for number in np.flatnonzero(made != said)[:1].tolist():
            raise DatasetError(
                f"{pack}: example {loaded.fed[number]} has {made[number]} {what}, and {said[number]} by its plan",
                hint=f"delete {' and '.join(planned.measured)}: measured anew; else it is the processor's fault",
            )


def pinned(loaded: Loaded) -> Loaded:
    """The batch in page-locked memory, which a GPU copies from without waiting; as it is where there is no GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not gpus():
        return loaded
    batch = {name: v.pin_memory() if isinstance(v, torch.Tensor) else v for name, v in loaded.batch.items()}
    return replace(loaded, batch=batch)
