"""Packing: mixed and nearly full bins under a vector budget of tokens, frames and audio."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deemo_dist.errors import DatasetError


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one pack may hold: tokens in its sequence, video frames and audio seconds given to the towers."""

    tokens: int
    frames: int
    audio_seconds: float

    def as_integers(self) -> tuple[int, int, int]:
        """Tokens, frames, and audio in whole milliseconds."""
        return self.tokens, self.frames, int(self.audio_seconds * 1000 + 1e-6)

    def work(self, costs: np.ndarray) -> np.ndarray:
        """What packs of ``costs`` (int64 [P, 3]) are of this, all three resources together: float64 [P]."""
        shares = costs / np.maximum(self.as_integers(), 1)
        work: np.ndarray = shares[:, 0] + shares[:, 1] + shares[:, 2]
        return work


@dataclass(frozen=True)
class Packs:
    """Packs of items, flat: pack ``p`` is ``items[offsets[p]:offsets[p + 1]]`` (int64 [N], int64 [packs + 1])."""

    items: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, pack: int) -> np.ndarray:
        return self.items[self.offsets[pack] : self.offsets[pack + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[pack] for pack in range(len(self)))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Per pack, the sum of ``values`` (one an item number): int64 or float64 [packs]."""
        if not len(self):
            return np.zeros(0, values.dtype)
        return np.add.reduceat(values[self.items], self.offsets[:-1])


def pack(costs: np.ndarray, budget: Budget) -> Packs:
    """Pack items of ``costs`` (int64 [N, 3]: tokens >= 1, frames, audio ms), which come in random order.

    Every item is in exactly one pack and no pack is over budget; what a pack holds is as mixed as the order. A function
    of costs and budget alone. Raises ``DatasetError`` for an item that no pack can hold.
    """
    from deemo_dist.dataset.bins import LEVELS, fill_bins  # compiled code: not loaded where nothing is packed

    check_fits(costs, budget)
    limits = np.maximum(np.array(budget.as_integers(), np.int64), 1)  # a limit of 0 is never short: nothing asks
    wide = costs.astype(np.int64)
    main = int(np.argmax(wide.sum(axis=0) / limits)) if len(wide) else 0
    needs = -(-wide[:, main] * LEVELS // limits[main])
    chosen, bins = fill_bins(wide, budget.work(wide), needs, limits, main)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(chosen, minlength=bins))]).astype(np.int64)
    return Packs(items=np.argsort(chosen, kind="stable"), offsets=offsets)


def check_fits(costs: np.ndarray, budget: Budget) -> None:
    """Raise ``DatasetError`` when a single item (``costs``: int64 [N, 3]) is over budget, naming how many and the
    largest."""
    limits = budget.as_integers()
    names = (("tokens", "max_tokens"), ("frames", "max_frames"), ("audio ms", "max_audio_seconds"))
    for column, (unit, key) in enumerate(names):
        over = costs[:, column] > limits[column]
        if over.any():
            raise DatasetError(
                f"{int(over.sum())} examples exceed a pack's {limits[column]} {unit} (the largest: "
                f"{int(costs[:, column].max())})",
                hint=f"raise the stage's {key}, or shorten what an example shows",
            )
