"""A dataset as it would be with more samples: real ones drawn again and again, in shards of the size asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np

from deemo_dist.dataset.lengths import LengthTable
from deemo_dist.dataset.windows import stream
from deemo_dist.records import Example

BLOCK = 512
"""Of a tar: a member's header is one, and its content ends on one."""

DISTINCT = 2048
"""Real samples that are drawn from, at most."""


@dataclass(frozen=True, eq=False)
class Grown(Sequence[Example]):
    """Examples of drawn samples. ``chosen``: the real example's number of each, int64 [N]; ``shard``: its shard's
    number, int64 [N]; ``shift``: by how many bytes its members move, int64 [N]; ``sizes``: bytes of each shard."""

    real: dict[int, Example]
    chosen: np.ndarray
    shard: np.ndarray
    shift: np.ndarray
    sizes: dict[str, int]

    def __len__(self) -> int:
        return len(self.chosen)

    @overload
    def __getitem__(self, number: int) -> Example: ...

    @overload
    def __getitem__(self, number: slice) -> list[Example]: ...

    def __getitem__(self, number: int | slice) -> Example | list[Example]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        example, shift = self.real[int(self.chosen[number])], int(self.shift[number])
        members = tuple(replace(member, offset=member.offset + shift) for member in example.sample.members)
        sample = replace(example.sample, shard=name_of(int(self.shard[number])), members=members)
        return replace(example, sample=sample, prefix="")

    def lengths(self, table: LengthTable) -> LengthTable:
        """The lengths of the drawn, of those of the real ones."""
        columns = {name: getattr(table, name)[self.chosen] for name in ("tokens", "targets", "frames", "audio_ms")}
        return LengthTable(digest=f"grown of {table.digest}", **columns)


def name_of(shard: int) -> str:
    """What a grown shard is called."""
    return f"grown-{shard:08d}.tar"


def grow(
    examples: Sequence[Example],
    *,
    samples: np.ndarray,
    examples_wanted: int,
    shard_bytes: int,
    seed: int,
    shares: np.ndarray | None = None,
) -> Grown:
    """At least ``examples_wanted`` examples, in whole shards: samples drawn again and again, each with all of its
    examples. ``samples``: which sample each of ``examples`` is of, int64 [N]; ``shares``: how often each is to be drawn
    beside the others, float64 [N] (None: all alike)."""
    draw = np.random.Generator(stream(seed))
    _, first, owner, counts = np.unique(samples, return_index=True, return_inverse=True, return_counts=True)
    weights = None if shares is None else shares[first] / shares[first].sum()
    picks = np.sort(draw.choice(len(first), min(DISTINCT, len(first)), replace=False, p=weights))
    own, offsets = np.argsort(owner, kind="stable"), np.concatenate([[0], np.cumsum(counts)])
    held = [own[offsets[pick] : offsets[pick + 1]] for pick in picks.tolist()]
    real = {int(number): examples[int(number)] for numbers in held for number in numbers}
    sizes = np.array([_bytes(real[int(numbers[0])]) for numbers in held])
    begins = np.array([_begin(real[int(numbers[0])]) for numbers in held])
    least = max(-(-examples_wanted // int(counts[picks].min())), int(2 * shard_bytes // sizes.mean()))
    drawn = draw.integers(0, len(picks), least + int(shard_bytes // sizes.min()) + 1)
    drawn, shard, starts, stops = _placed(drawn, sizes, shard_bytes, counts[picks], examples_wanted)
    times = np.array([len(numbers) for numbers in held])[drawn]
    return Grown(
        real=real,
        chosen=np.concatenate([held[pick] for pick in drawn.tolist()]),
        shard=np.repeat(shard, times),
        shift=np.repeat(starts - begins[drawn], times),
        sizes={name_of(number): int(size) + 2 * BLOCK for number, size in enumerate(stops)},
    )


def _placed(
    drawn: np.ndarray, sizes: np.ndarray, shard_bytes: int, counts: np.ndarray, wanted: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Samples one after the other in shards: as many of ``drawn`` as whole shards with ``wanted`` examples take, the
    shard of each, where it begins in it (bytes), and where each shard ends."""
    ends = np.cumsum(sizes[drawn])
    shard = (ends - sizes[drawn]) // shard_bytes
    enough = min(int(np.searchsorted(np.cumsum(counts[drawn]), wanted)), len(drawn) - 1)
    last = int(np.searchsorted(shard, shard[enough], side="right"))
    drawn, ends, shard = drawn[:last], ends[:last], shard[:last]
    shard = np.unique(shard, return_inverse=True)[1]  # a sample larger than a shard leaves numbers out
    firsts = np.searchsorted(shard, np.arange(int(shard[-1]) + 1))
    bases = (ends - sizes[drawn])[firsts]
    return drawn, shard, ends - sizes[drawn] - bases[shard], np.append(ends[firsts[1:] - 1], ends[-1]) - bases


def _begin(example: Example) -> int:
    """Where a sample's first header stands in its shard."""
    return min(member.offset for member in example.sample.members) - BLOCK


def _bytes(example: Example) -> int:
    """What a sample takes in its shard, headers and padding included."""
    end = max(member.offset + member.size for member in example.sample.members)
    return -(-end // BLOCK) * BLOCK - _begin(example)
