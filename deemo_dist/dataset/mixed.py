"""The examples and the lengths of several datasets, numbered one dataset after the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import overload

import numpy as np

from deemo_dist.config import MixConfig
from deemo_dist.dataset.instructions import Examples
from deemo_dist.dataset.lengths import LengthTable
from deemo_dist.dataset.mixing import Mix, Source, Stitched, draws_of
from deemo_dist.digests import digest_of
from deemo_dist.records import Example


@dataclass(frozen=True, eq=False)
class MixedExamples(Sequence[Example]):
    """Examples of several datasets, ``parts`` by ``name/version``; each says where the dataset of its sample is."""

    parts: Mapping[str, Examples]

    @cached_property
    def starts(self) -> np.ndarray:
        """The number of each part's first example, and of them all: int64 [K + 1]."""
        return np.cumsum([0, *map(len, self.parts.values())])

    def __len__(self) -> int:
        return int(self.starts[-1])

    @overload
    def __getitem__(self, number: int) -> Example: ...

    @overload
    def __getitem__(self, number: slice) -> list[Example]: ...

    def __getitem__(self, number: int | slice) -> Example | list[Example]:
        if isinstance(number, slice):
            return self.at(np.arange(*number.indices(len(self))))
        place = int(number) + (len(self) if number < 0 else 0)
        if not 0 <= place < len(self):
            raise IndexError(f"there are {len(self)} examples, none has the number {number}")
        return self.at(np.array([place]))[0]

    def at(self, numbers: np.ndarray) -> list[Example]:
        """The examples of these numbers (integers [N]), in their order: the rows of a dataset are read all at once."""
        part = np.searchsorted(self.starts, numbers, side="right") - 1
        found: dict[int, Example] = {}
        for place, examples in enumerate(self.parts.values()):
            here = np.flatnonzero(part == place)
            made = examples.at(numbers[here] - self.starts[place])
            found.update(zip(here.tolist(), (_placed(example, examples) for example in made), strict=True))
        return [found[number] for number in range(len(numbers))]

    def __iter__(self) -> Iterator[Example]:
        for examples in self.parts.values():
            for example in examples:
                yield _placed(example, examples)

    @cached_property
    def digest(self) -> str:
        """Digest of what they ask and show, in their order."""
        return digest_of([part.digest for part in self.parts.values()])

    def mix(self, shares: Mapping[str, MixConfig], epochs: int) -> Mix:
        """What a plan of ``epochs`` draws from each, by its share (none: whole). Raises as ``draws_of`` does."""
        sizes = {name: len(part) for name, part in self.parts.items()}
        draws = draws_of({name: shares.get(name, MixConfig()) for name in sizes}, sizes, epochs)
        return Mix(tuple(Source(part.groups, draws[name]) for name, part in self.parts.items()))


def _placed(example: Example, examples: Examples) -> Example:
    return replace(example, prefix=examples.dataset.prefix)


def examples_at(examples: Sequence[Example], numbers: Sequence[int]) -> list[Example]:
    """The examples of these numbers, in their order: at once where they are a dataset's, or several's."""
    if isinstance(examples, Examples | MixedExamples):
        return examples.at(np.array(numbers, np.int64))
    return [examples[number] for number in numbers]


def mixed_lengths(tables: Sequence[LengthTable]) -> LengthTable:
    """The lengths of several datasets' examples, one after the other, without a copy."""
    columns = {
        name: Stitched([getattr(table, name) for table in tables])
        for name in ("tokens", "targets", "frames", "audio_ms")
    }
    measured = dict.fromkeys(digest for table in tables for digest in table.measured)
    return LengthTable(digest=digest_of([table.digest for table in tables]), of=tuple(measured), **columns)
