"""Several datasets in one plan: a stream in which each keeps its share, cut into windows that are made on their own.

Each dataset gives its examples epoch after epoch: its shards in a new random order each time, beginning anywhere in
them, and the examples of a shard in one too. So of an epoch that is not shown whole, any example is as likely as any
other. The stream takes them in turns (:mod:`~deemo_dist.dataset.quota`): the counts of every prefix are within 1 of
their share. Windows are ranges of the stream; what of each dataset is in one follows from the counts at its ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from deemo_dist.config import MixConfig
from deemo_dist.dataset.windows import EXAMPLES, MIXED, TURNED, Groups, permutation, stream
from deemo_dist.digests import digest_of
from deemo_dist.errors import ConfigError, CorruptDataError, DatasetError


@dataclass(frozen=True)
class Source:
    """A dataset in a mix: the groups that its shards make of its examples (numbered from 0), and how many ``draws`` it
    gives over the whole plan."""

    groups: Groups
    draws: int


@dataclass(frozen=True)
class Mix:
    """Datasets in a fixed order; the examples of each are numbered after those of the ones before it."""

    sources: tuple[Source, ...]

    @property
    def examples(self) -> int:
        """How many examples there are in all of them."""
        return sum(source.groups.examples for source in self.sources)

    @property
    def draws(self) -> int:
        """How many examples the plan shows, repeats counted."""
        return sum(source.draws for source in self.sources)

    @property
    def digest(self) -> str:
        """Digest of groups and draws."""
        return digest_of([[source.groups.digest, source.draws] for source in self.sources])


class MixedWindows:
    """The windows of a mix's stream, of at least ``least`` draws each (all, if fewer), and of like size.

    Between 0 and K draws of window ``w`` come from each source: ``starts[w]`` to ``starts[w + 1]`` of its own stream.
    """

    def __init__(self, mix: Mix, seed: int, least: int, starts: Any = None, where: str = "a table") -> None:
        """``starts``: the counts at the windows' ends, [W + 1, K], where they are known (checked; read from ``where``);
        else they are counted, one pass over the stream. Raises ``CorruptDataError`` for what are no such counts."""
        self.mix, self.seed = mix, seed
        windows = max(1, mix.draws // least)
        places = np.array([mix.draws * window // windows for window in range(windows + 1)], np.int64)
        draws = np.array([source.draws for source in mix.sources], np.int64)
        self.starts = _counted(draws, places) if starts is None else _checked(starts, draws, places, where)
        self._bases = np.cumsum([0, *(source.groups.examples for source in mix.sources)])
        self._order = lru_cache(maxsize=2 * len(mix.sources))(self._shuffled)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def digest(self) -> str:
        """Digest of what is mixed."""
        return self.mix.digest

    def stored(self) -> dict[str, Any]:
        """What is worth keeping of them."""
        return {"starts": self.starts.tolist()}

    def place(self, window: int) -> tuple[int, int]:
        """Words that name a window in random streams."""
        return 0, window

    def examples(self, window: int) -> np.ndarray:
        """The examples of a window in their random order, int64; one that comes round twice stands there twice."""
        found = [
            self._bases[number] + self.drawn(number, int(start), int(stop))
            for number, (start, stop) in enumerate(zip(self.starts[window], self.starts[window + 1], strict=True))
        ]
        together = np.concatenate(found)
        return together[permutation(len(together), self.seed, EXAMPLES, *self.place(window))]

    def drawn(self, number: int, start: int, stop: int) -> np.ndarray:
        """Draws ``start`` to ``stop`` of a source's own stream, each epoch of which shows every example once: int64."""
        size = self.mix.sources[number].groups.examples
        parts: list[np.ndarray] = []
        while start < stop:
            epoch, place = divmod(start, size)
            first = (place + self._order(number, epoch)[2]) % size
            count = min(stop - start, size - place, size - first)
            parts.append(self._row(number, epoch, first, first + count))
            start += count
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def _row(self, number: int, epoch: int, first: int, last: int) -> np.ndarray:
        """Examples ``first`` to ``last`` of a source's shards as they stand in a row in an epoch: int64."""
        order, ends, _ = self._order(number, epoch)
        low, high = np.searchsorted(ends, [first, last - 1], side="right")
        begins = int(ends[low - 1]) if low else 0
        shards = [self._members(number, epoch, shard) for shard in order[low : high + 1].tolist()]
        return np.concatenate(shards)[first - begins : last - begins]

    def _members(self, number: int, epoch: int, shard: int) -> np.ndarray:
        """The examples of a shard in their order in an epoch."""
        found = self.mix.sources[number].groups.of_shard(shard)
        return found[permutation(len(found), self.seed, MIXED, number, epoch, shard)]

    def _shuffled(self, number: int, epoch: int) -> tuple[np.ndarray, np.ndarray, int]:
        """A source's shards in the order of an epoch, how many examples there are up to each one's end, and at which of
        them the epoch begins."""
        groups = self.mix.sources[number].groups
        order = permutation(len(groups), self.seed, MIXED, number, epoch)
        begin = int(stream(self.seed, TURNED, number, epoch).random_raw()) % groups.examples
        return order, np.cumsum(np.diff(groups.offsets)[order]), begin


def _counted(draws: np.ndarray, places: np.ndarray) -> np.ndarray:
    from deemo_dist.dataset.quota import prefix_counts  # compiled code: not loaded where the counts are known

    return prefix_counts(draws, places)


def _checked(starts: Any, draws: np.ndarray, places: np.ndarray, where: str) -> np.ndarray:
    """Stored counts: whole, ascending, summing to the places, each within 1 of its share."""
    found = np.array(starts, np.int64) if _is_table(starts, len(draws)) else np.zeros((0, 0), np.int64)
    right = found.shape == (len(places), len(draws))
    right = right and bool((found.sum(axis=1) == places).all() and (np.diff(found, axis=0) >= 0).all())
    if not right or bool((np.abs(found - places[:, None] * (draws / draws.sum())) > 1 + 1e-6).any()):
        raise CorruptDataError(f"{where}: not the counts of this mix", hint="delete the table: it is counted anew")
    return found


def _is_table(rows: Any, width: int) -> bool:
    """Whether these are rows of so many whole numbers each."""
    return isinstance(rows, list) and all(
        isinstance(row, list) and len(row) == width and all(type(count) is int for count in row) for row in rows
    )


def draws_of(shares: Mapping[str, MixConfig], sizes: Mapping[str, int], epochs: int) -> dict[str, int]:
    """How many examples each dataset gives over a stage of ``epochs``; ``sizes``: how many it has.

    Raises ``ConfigError`` for shares that make no sense, ``DatasetError`` for one so small that nothing is drawn.
    """
    for name, share in shares.items():
        _check(name, share)
    whole = {name: share.epochs or float(epochs) for name, share in shares.items() if share.weight is None}
    weights = {name: share.weight for name, share in shares.items() if share.weight is not None}
    total = sum(whole[name] * sizes[name] for name in whole)
    unit = total if whole else epochs * sum(sizes[name] for name in weights) / sum(weights.values())
    draws = {name: round(whole[name] * sizes[name] if name in whole else weights[name] * unit) for name in shares}
    for name, count in draws.items():
        if count < 1:
            raise DatasetError(f"dataset {name} gives no example to the mix", hint="give it a larger share")
    return draws


def _check(name: str, share: MixConfig) -> None:
    if share.weight is not None and share.epochs is not None:
        raise ConfigError(f"the mix gives dataset {name} a weight and epochs", hint="one of both")
    for word, value in (("weight", share.weight), ("epochs", share.epochs)):
        if value is not None and not value > 0:
            raise ConfigError(f"the mix gives dataset {name} the {word} {value:g}", hint="more than 0")


def dataset_names(shares: Mapping[str, MixConfig]) -> dict[str, tuple[str, str]]:
    """Name and version by the mix's keys. Raises ``ConfigError`` for a key that is not ``name/version``, and for two
    versions of one dataset: their samples may be the same."""
    found: dict[str, tuple[str, str]] = {}
    for key in shares:
        name, slash, version = key.partition("/")
        if not (name and slash and version):
            raise ConfigError(f"the mix names the dataset '{key}'", hint="name it as name/version, such as demo/v1")
        if name in {other for other, _ in found.values()}:
            raise ConfigError(
                f"the mix holds two versions of dataset {name}", hint="take one: what is in both would come twice"
            )
        found[key] = name, version
    return found


class Stitched:
    """Columns one after the other as one, without a copy: a hundred million rows need no more memory mixed."""

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self.parts = tuple(parts)
        self._starts = np.cumsum([0, *map(len, self.parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """That holds all of their values."""
        return np.result_type(*self.parts)

    def __getitem__(self, numbers: Any) -> np.ndarray:
        """The values at these numbers (integers [N]), or of a slice."""
        if isinstance(numbers, slice):
            numbers = np.arange(*numbers.indices(len(self)))
        asked = np.asarray(numbers, np.int64)
        part = np.searchsorted(self._starts, asked, side="right") - 1
        found = np.empty(asked.shape, self.dtype)
        for place, column in enumerate(self.parts):
            here = part == place
            found[here] = column[asked[here] - self._starts[place]]
        return found

    def max(self, initial: int = 0) -> int:
        """The largest value, ``initial`` at least."""
        return max(int(part.max(initial=initial)) for part in self.parts)
