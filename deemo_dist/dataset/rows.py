"""Records that stay in their Arrow table until they are asked for: a hundred thousand open in a moment."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Generic, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deemo_dist.dataset.decoding import records

T = TypeVar("T")
BATCH = 1024


class Rows(Sequence[T]):
    """The rows of a stored ``table`` as records of ``kind``, each made when it is asked for.

    ``where`` names the table in errors. Indexing raises ``CorruptDataError`` for a row that is not a valid record.
    """

    def __init__(self, kind: type[T], table: pa.Table, where: str) -> None:
        self.kind, self.where = kind, where
        self.table = table if _is_whole(table) else joined([table])

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, number: int) -> T: ...

    @overload
    def __getitem__(self, number: slice) -> list[T]: ...

    def __getitem__(self, number: int | slice) -> T | list[T]:
        if isinstance(number, slice):
            return self.at(np.arange(*number.indices(len(self))))
        place = int(number) + (len(self) if number < 0 else 0)
        if not 0 <= place < len(self):
            raise IndexError(f"{self.where} has {len(self)} rows, not {number}")
        return self._made(self.table.slice(place, 1))[0]

    def __iter__(self) -> Iterator[T]:
        for start in range(0, len(self), BATCH):
            yield from self._made(self.table.slice(start, BATCH))

    def at(self, numbers: np.ndarray) -> list[T]:
        """The records of these rows (integers [N]), in their order: all at once, many times as fast as one by one."""
        return self._made(self.table.take(pa.array(numbers, pa.int64())))

    def column(self, name: str) -> pa.Array:
        """A whole column, undecoded."""
        found = self.table.column(name)
        return found.chunk(0) if found.num_chunks == 1 else pa.concat_arrays([*found.chunks, pa.nulls(0, found.type)])

    def take(self, numbers: np.ndarray) -> "Rows[T]":
        """The rows of these numbers (int64 [N]), in their order."""
        return Rows(self.kind, self.table.take(pa.array(numbers, pa.int64())), self.where)

    def _made(self, part: pa.Table) -> list[T]:
        return records(self.kind, part, self.where)


def joined(tables: list[pa.Table]) -> pa.Table:
    """The rows of one or more tables of one schema as one, each column in a chunk of its own; takes the ``tables`` out
    of the list. A column's parts are let go of as it is joined, where nobody else holds them: at most one column is in
    memory twice."""
    table = pa.concat_tables(tables)
    tables.clear()
    schema, columns = table.schema, dict(zip(table.column_names, table.columns, strict=True))
    del table
    for name in schema.names:
        alone = pa.table({name: columns.pop(name)})
        columns[name] = (alone if _is_whole(alone) else alone.combine_chunks()).column(name)
    return pa.table(columns, schema=schema)


def _is_whole(table: pa.Table) -> bool:
    """Whether each column is in one chunk."""
    return all(column.num_chunks == 1 for column in table.columns)


class ByKey(Mapping[str, T], Generic[T]):
    """Rows found by their ``key`` column, by binary search: where they stand in the order of their keys, as overlays
    do, nothing is held beside the table. Of rows with one key, the last counts."""

    def __init__(self, rows: Rows[T]) -> None:
        self.rows = rows

    @cached_property
    def _keys(self) -> pa.Array:
        return self.rows.column("key")

    @cached_property
    def _order(self) -> np.ndarray | None:
        """Row numbers in the order of keys, [N]; None where that is the rows' own."""
        keys = self._keys
        if len(keys) < 2 or pc.all(pc.less_equal(keys.slice(0, len(keys) - 1), keys.slice(1))).as_py():
            return None
        return np.lexsort((np.arange(len(keys)), pc.rank(keys, tiebreaker="dense").to_numpy()))

    def place(self, key: str) -> int:
        """The row number of ``key``. Raises ``KeyError``."""
        return int(self.places([key])[0])

    def places(self, keys: Sequence[str]) -> np.ndarray:
        """The row numbers of ``keys``, int64 [n], all searched for at once. Raises ``KeyError`` for one that is not
        there."""
        if not len(self) and len(keys):
            raise KeyError(keys[0])
        found = self._numbers(np.maximum(self.upto(keys) - 1, 0))
        there = pc.equal(self._keys.take(pa.array(found)), pa.array(keys, pa.string()))
        if not pc.all(there, min_count=0).as_py():
            raise KeyError(keys[pc.index(there, False).as_py()])
        return found

    def upto(self, keys: Sequence[str]) -> np.ndarray:
        """How many rows have a key that is at most each of these: int64 [n]."""
        wanted = pa.array(keys, pa.string())
        low, high = np.zeros(len(keys), np.int64), np.full(len(keys), len(self), np.int64)
        while (going := low < high).any():
            middle = (low + high) // 2
            upto = self._at_most(np.minimum(middle, len(self) - 1), wanted)
            low, high = np.where(going & upto, middle + 1, low), np.where(going & ~upto, middle, high)
        return low

    def in_order(self, start: int, stop: int) -> pa.Array:
        """The keys from the place ``start`` to ``stop`` in their order."""
        if self._order is None:
            return self._keys.slice(start, stop - start)
        return self._keys.take(pa.array(self._order[start:stop]))

    def _at_most(self, middle: np.ndarray, wanted: pa.Array) -> np.ndarray:
        """Whether the keys at these places in their order are at most the ``wanted`` ones: bool [n]."""
        keys = self._keys.take(pa.array(self._numbers(middle)))
        return np.asarray(pc.less_equal(keys, wanted).to_numpy(zero_copy_only=False), bool)

    def _numbers(self, places: np.ndarray) -> np.ndarray:
        """The row numbers at these places in the order of keys."""
        return places if self._order is None else self._order[places]

    def __getitem__(self, key: str) -> T:
        return self.at([key])[0]

    def at(self, keys: Sequence[str]) -> list[T]:
        """The records of these keys, in their order, all at once. Raises ``KeyError``."""
        return self.rows.at(self.places(keys))

    def __contains__(self, key: object) -> bool:
        try:
            return isinstance(key, str) and len(self.places([key])) == 1
        except KeyError:
            return False

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), BATCH):
            yield from self._keys.slice(start, BATCH).to_pylist()

    def __len__(self) -> int:
        return len(self.rows)
