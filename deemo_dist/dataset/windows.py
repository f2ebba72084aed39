"""Which examples an epoch shows in which order: shards permuted, cut into windows, permuted within.

All randomness is a counter-based stream (Philox, whose raw stream NumPy keeps stable) of (seed, purpose, epoch,
window): any window of any epoch can be made on its own.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from deemo_dist.digests import digest_of

CHUNK = 2**20
"""Numbers that are wide in memory at once."""

SHARDS, EXAMPLES, PACKS, MODALITIES, MIXED, TURNED = range(6)
"""Purposes of random streams."""


def stream(*words: int) -> np.random.Philox:
    """A random stream of its own for these words."""
    return np.random.Philox(np.random.SeedSequence([word % 2**64 for word in words]))


def permutation(count: int, *words: int) -> np.ndarray:
    """A random order of ``count`` numbers, int64 [count], fixed by the words."""
    return np.argsort(stream(*words).random_raw(count), kind="stable").astype(np.int64)


def digest_of_integers(values: np.ndarray) -> str:
    """Hex SHA-256 of integers as little-endian int64, whatever their type here, made wide a chunk at a time."""
    state = hashlib.sha256()
    for start in range(0, len(values), CHUNK):
        state.update(np.ascontiguousarray(values[start : start + CHUNK], "<i8").tobytes())
    return state.hexdigest()


@dataclass(frozen=True)
class Groups:
    """Examples by shard: shard ``g`` holds ``members[offsets[g]:offsets[g + 1]]``; ``members`` None: the numbers
    themselves, where examples stand in the order of their shards."""

    offsets: np.ndarray
    members: np.ndarray | None = None

    @classmethod
    def of(cls, shards: np.ndarray) -> "Groups":
        """From the shard number of each example (integers [N]); numbers without an example are passed over."""
        in_order = bool((shards[1:] >= shards[:-1]).all())
        members = None if in_order else np.argsort(shards, kind="stable").astype(np.int64)
        row = shards if members is None else shards[members]
        cuts = np.flatnonzero(row[1:] != row[:-1]) + 1
        return cls(offsets=np.concatenate([[0], cuts, [len(row)]]).astype(np.int64), members=members)

    @classmethod
    def of_units(cls, units: np.ndarray, rows: np.ndarray) -> "Groups":
        """From the shard number of each row (integers) and the row of each example (integers [N]), without a number an
        example where these stand in the order of their shards, as those of an index do."""
        cuts = [np.zeros(0, np.int64)]
        for start in range(0, len(rows), CHUNK):
            near = units[rows[max(start - 1, 0) : start + CHUNK]]
            if (near[1:] < near[:-1]).any():
                return cls.of(units[rows])
            cuts.append(np.flatnonzero(near[1:] != near[:-1]) + max(start, 1))
        return cls(offsets=np.concatenate([[0], *cuts, [len(rows)]]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def examples(self) -> int:
        """How many examples there are."""
        return int(self.offsets[-1])

    @property
    def digest(self) -> str:
        """Digest of which examples stand in which group."""
        arrays = (self.offsets,) if self.members is None else (self.offsets, self.members)
        return digest_of([digest_of_integers(values) for values in arrays])

    def of_shard(self, shard: int) -> np.ndarray:
        """The examples of a shard: int64 [n]."""
        start, stop = int(self.offsets[shard]), int(self.offsets[shard + 1])
        return np.arange(start, stop, dtype=np.int64) if self.members is None else self.members[start:stop]


class Windows(Protocol):
    """The windows of a plan, counted over all of it, each made on its own."""

    def __len__(self) -> int: ...

    @property
    def digest(self) -> str:
        """Digest of what they are made of, but for settings."""
        ...

    def stored(self) -> dict[str, Any]:
        """What is worth keeping of them beside the table of packs: plain data."""
        ...

    def place(self, window: int) -> tuple[int, int]:
        """Words that name a window in random streams."""
        ...

    def examples(self, window: int) -> np.ndarray:
        """The examples of a window in their random order: int64."""
        ...


class EpochWindows:
    """The windows of ``epochs`` over one dataset: each epoch's own, of whole shards and ``least`` examples or more."""

    def __init__(self, groups: Groups, seed: int, epochs: int, least: int) -> None:
        self.groups, self.seed = groups, seed
        self._epochs = [epoch_windows(groups, seed, epoch, least) for epoch in range(epochs)]
        self._places = [(epoch, window) for epoch, found in enumerate(self._epochs) for window in range(len(found))]

    def __len__(self) -> int:
        return len(self._places)

    @property
    def digest(self) -> str:
        """Digest of the groups."""
        return self.groups.digest

    def stored(self) -> dict[str, Any]:
        """Nothing: they are made at once."""
        return {}

    def place(self, window: int) -> tuple[int, int]:
        """Epoch, and number in it."""
        return self._places[window]

    def examples(self, window: int) -> np.ndarray:
        """The examples of a window in their random order: int64."""
        epoch, number = self._places[window]
        return window_examples(self.groups, self._epochs[epoch][number], self.seed, epoch, number)


def epoch_windows(groups: Groups, seed: int, epoch: int, least: int) -> list[np.ndarray]:
    """The epoch's windows, each shard numbers with at least ``least`` examples (all, if fewer), alike within a shard:
    making a window, so beginning anywhere, takes the same time."""
    order = permutation(len(groups), seed, SHARDS, epoch)
    sizes = np.diff(groups.offsets)
    if not len(sizes):
        return []
    filled = np.cumsum(sizes[order])
    total, largest = int(filled[-1]), int(sizes.max())
    count = max(1, total // (least + largest))
    even = np.arange(1, count) * total // count
    return np.split(order, np.searchsorted(filled, even) + 1)


def window_examples(groups: Groups, shards: np.ndarray, seed: int, epoch: int, window: int) -> np.ndarray:
    """The examples of a window in their random order, int64."""
    found = np.concatenate([groups.of_shard(shard) for shard in shards.tolist()])
    return found[permutation(len(found), seed, EXAMPLES, epoch, window)]
