"""Packing: best-fit decreasing bins under a vector budget of tokens, frames and audio.

Bins are kept in buckets by the tokens they have left, and a bit mask says which buckets hold any, so that the best fit
is one shift and one lowest set bit away. After Coffman et al., "Approximation algorithms for bin packing" (1984).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deemo_dist.errors import DatasetError

TRIES = 64
"""How many of the tightest bins are tried before a new one is opened, when frames or audio do not fit."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one pack may hold: tokens in its sequence, video frames and audio seconds given to the towers."""

    tokens: int
    frames: int
    audio_seconds: float

    def as_integers(self) -> tuple[int, int, int]:
        """Tokens, frames, and audio in whole milliseconds."""
        return self.tokens, self.frames, int(self.audio_seconds * 1000 + 1e-6)


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
    """Pack items of ``costs`` (int64 [N, 3]: tokens >= 1, frames, audio ms) best-fit decreasing by tokens.

    Every item is in exactly one pack and no pack is over budget. Deterministic; equal items keep their order.
    Raises ``DatasetError`` for an item that no pack can hold.
    """
    check_fits(costs, budget)
    bins = _Bins(budget, _least(costs, 1), _least(costs, 2))
    order = np.argsort(-costs[:, 0], kind="stable")
    chosen = np.empty(len(costs), np.int64)
    place = bins.place
    for item, (tokens, frames, audio) in zip(order.tolist(), costs[order].tolist(), strict=True):
        chosen[item] = place(tokens, frames, audio)
    packed = order[np.argsort(chosen[order], kind="stable")]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(chosen, minlength=bins.count))]).astype(np.int64)
    return Packs(items=packed, offsets=offsets)


def _least(costs: np.ndarray, column: int) -> int:
    """Smallest cost in a column: a bin with less left can take nothing more."""
    return int(costs[:, column].min()) if len(costs) else 0


def check_fits(costs: np.ndarray, budget: Budget) -> None:
    """Raise ``DatasetError`` when a single item is over budget, naming how many and the largest."""
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


class _Bins:
    """Open bins by tokens left. A bin whose frames or audio left are below every item's is closed."""

    def __init__(self, budget: Budget, least_frames: int, least_audio: int) -> None:
        self.tokens, self.frames, self.audio = budget.as_integers()
        self.least_frames, self.least_audio = least_frames, least_audio
        self.buckets: list[list[int]] = [[] for _ in range(self.tokens + 1)]
        self.mask = 0
        self.frames_left: list[int] = []
        self.audio_left: list[int] = []

    @property
    def count(self) -> int:
        return len(self.frames_left)

    def place(self, tokens: int, frames: int, audio: int) -> int:
        """Put an item into the fullest bin that holds it, else into a new one; returns the bin's number."""
        found = self._take(tokens, frames, audio)
        if found is None:
            number, left = self.count, self.tokens
            self.frames_left.append(self.frames)
            self.audio_left.append(self.audio)
        else:
            number, left = found
        self.frames_left[number] -= frames
        self.audio_left[number] -= audio
        left -= tokens
        if left > 0 and self.frames_left[number] >= self.least_frames and self.audio_left[number] >= self.least_audio:
            self.buckets[left].append(number)
            self.mask |= 1 << left
        return number

    def _take(self, tokens: int, frames: int, audio: int) -> tuple[int, int] | None:
        """Remove the tightest bin that holds the item: (number, tokens left)."""
        waiting = self.mask >> tokens
        base, tries = tokens, TRIES
        while waiting and tries > 0:
            left = base + (waiting & -waiting).bit_length() - 1
            bucket = self.buckets[left]
            for position in range(len(bucket) - 1, max(-1, len(bucket) - 1 - tries), -1):
                number = bucket[position]
                if self.frames_left[number] >= frames and self.audio_left[number] >= audio:
                    del bucket[position]
                    if not bucket:
                        self.mask ^= 1 << left
                    return number, left
            tries -= len(bucket)
            waiting = self.mask >> (left + 1)
            base = left + 1
        return None
