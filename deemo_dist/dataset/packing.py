"""Packing: best-fit decreasing bins under a vector budget of tokens, frames and audio.

Bins are kept in buckets by the share they have left of their most used resource, and a bit mask says which buckets
hold any, so that the best fit is one shift and one lowest set bit away. After Coffman, Garey and Johnson,
"Approximation algorithms for bin packing" (1984).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deemo_dist.errors import DatasetError

LEVELS = 4096
TRIES = 16
"""How many bins of a lower level are tried before a new one is opened."""


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
    """Pack items of ``costs`` (int64 [N, 3]: tokens >= 1, frames, audio ms) best-fit decreasing by their largest share.

    Every item is in exactly one pack and no pack is over budget. Deterministic; equal items keep their order.
    Raises ``DatasetError`` for an item that no pack can hold.
    """
    check_fits(costs, budget)
    limits = budget.as_integers()
    needs = np.ceil(costs * (LEVELS / np.maximum(limits, 1)) + 1e-9).astype(np.int64).max(axis=1, initial=1)
    bins = _Bins(limits, costs.min(axis=0, initial=np.iinfo(np.int64).max).tolist())
    order = np.argsort(-needs, kind="stable")
    place, columns = bins.place, costs[order].T.tolist()
    chosen = np.empty(len(costs), np.int64)
    chosen[order] = [place(*item) for item in zip(*columns, np.minimum(needs[order], LEVELS).tolist(), strict=True)]
    packed = order[np.argsort(chosen[order], kind="stable")]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(chosen, minlength=len(bins.left)))]).astype(np.int64)
    return Packs(items=packed, offsets=offsets)


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
    """Open bins, in buckets by level: what share of its most used resource a bin has left, in ``LEVELS`` steps.

    A bin that has less left of any resource than the smallest item needs is closed.
    """

    def __init__(self, limits: tuple[int, int, int], least: list[int]) -> None:
        self.limits = (limits[0], max(limits[1], 1), max(limits[2], 1))  # a limit of 0 is never short: nothing asks
        self.least = least
        self.scales = [LEVELS / limit for limit in self.limits]
        self.buckets: list[list[int]] = [[] for _ in range(LEVELS + 1)]
        self.mask = 0
        self.left: list[tuple[int, int, int]] = []

    def place(self, tokens: int, frames: int, audio: int, need: int) -> int:
        """Put an item into the fullest bin that holds it, else into a new one; returns the bin's number."""
        number = self._take(need)
        if number is None:
            number = self._take_below(tokens, frames, audio, need)
        if number is None:
            number = len(self.left)
            self.left.append(self.limits)
        before = self.left[number]
        left = (before[0] - tokens, before[1] - frames, before[2] - audio)
        self.left[number] = left
        least = self.least
        if left[0] >= least[0] and left[1] >= least[1] and left[2] >= least[2]:
            scales = self.scales
            level = int(min(left[0] * scales[0], left[1] * scales[1], left[2] * scales[2]))
            self.buckets[level].append(number)
            self.mask |= 1 << level
        return number

    def _take(self, need: int) -> int | None:
        """Remove the tightest bin of a level at which the item surely fits."""
        waiting = self.mask >> need
        return self._pop(need + (waiting & -waiting).bit_length() - 1, -1) if waiting else None

    def _take_below(self, tokens: int, frames: int, audio: int, need: int) -> int | None:
        """Remove a bin of a lower level that the item fits all the same, since it needs little of what is short."""
        waiting, tries = self.mask & ((1 << need) - 1), TRIES
        while waiting and tries > 0:
            level = waiting.bit_length() - 1
            bucket = self.buckets[level]
            for position in range(len(bucket) - 1, max(-1, len(bucket) - 1 - tries), -1):
                left = self.left[bucket[position]]
                if left[0] >= tokens and left[1] >= frames and left[2] >= audio:
                    return self._pop(level, position)
            tries -= len(bucket)
            waiting ^= 1 << level
        return None

    def _pop(self, level: int, position: int) -> int:
        bucket = self.buckets[level]
        number = bucket.pop(position)
        if not bucket:
            self.mask ^= 1 << level
        return number
