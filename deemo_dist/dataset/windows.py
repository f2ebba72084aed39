"""Which examples an epoch shows in which order: shards permuted, cut into windows, permuted within.

All randomness is a counter-based stream (Philox, whose raw stream NumPy keeps stable) of (seed, purpose, epoch,
window): any window of any epoch can be made on its own.
"""

from dataclasses import dataclass

import numpy as np

SHARDS, EXAMPLES, PACKS, MODALITIES = range(4)
"""Purposes of random streams."""


def stream(*words: int) -> np.random.Philox:
    """A random stream of its own for these words."""
    return np.random.Philox(np.random.SeedSequence([word % 2**64 for word in words]))


def permutation(count: int, *words: int) -> np.ndarray:
    """A random order of ``count`` numbers, int64 [count], fixed by the words."""
    return np.argsort(stream(*words).random_raw(count), kind="stable").astype(np.int64)


@dataclass(frozen=True)
class Groups:
    """Examples by shard: shard ``g`` holds ``members[offsets[g]:offsets[g + 1]]``."""

    members: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, shards: np.ndarray) -> "Groups":
        """From the shard number of each example (int64 [N]); numbers without an example are passed over."""
        members = np.argsort(shards, kind="stable").astype(np.int64)
        _, counts = np.unique(shards, return_counts=True)
        return cls(members=members, offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1


def epoch_windows(groups: Groups, seed: int, epoch: int, least: int) -> list[np.ndarray]:
    """The epoch's windows, each shard numbers with at least ``least`` examples (all, if fewer)."""
    order = permutation(len(groups), seed, SHARDS, epoch)
    filled = np.cumsum(np.diff(groups.offsets)[order])
    total = int(filled[-1]) if len(filled) else 0
    cuts: list[int] = []
    reached = 0
    while total - reached >= 2 * least:
        cut = int(np.searchsorted(filled, reached + least)) + 1
        if total - int(filled[cut - 1]) < least:
            break
        cuts.append(cut)
        reached = int(filled[cut - 1])
    return np.split(order, cuts) if total else []


def window_examples(groups: Groups, shards: np.ndarray, seed: int, epoch: int, window: int) -> np.ndarray:
    """The examples of a window in their random order, int64."""
    found = np.concatenate([groups.members[groups.offsets[g] : groups.offsets[g + 1]] for g in shards.tolist()])
    return found[permutation(len(found), seed, EXAMPLES, epoch, window)]
