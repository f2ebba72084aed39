"""Tables written part by part as their rows come: at most one part's rows are in memory, as Arrow."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from deemo_dist.dataset.codec import encode_table
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.info import PartFile
from deemo_dist.digests import RowsDigest, sha256_bytes

PART_ROWS = 50_000
BATCH = 1000


class PartWriter:
    """Writes rows in parts of ``PART_ROWS``, named by ``key``; an empty table has one empty part."""

    def __init__(self, store: Door, schema: pa.Schema, key: Callable[[int], str]) -> None:
        self.store, self.key = store, key
        self.parts: list[PartFile] = []
        self._waiting = Gathered(schema)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take plain rows."""
        self._waiting.add(rows)
        self._write_full()

    def add_table(self, table: pa.Table) -> None:
        """Take rows that are in a table of the same schema."""
        self._waiting.add_table(table)
        self._write_full()

    def finish(self) -> tuple[PartFile, ...]:
        """Write what is left; all parts."""
        if len(self._waiting) or not self.parts:
            self._write(self._waiting.take())
        return tuple(self.parts)

    def _write_full(self) -> None:
        if len(self._waiting) < PART_ROWS:
            return
        table = self._waiting.take()
        while table.num_rows >= PART_ROWS:
            self._write(table.slice(0, PART_ROWS))
            table = table.slice(PART_ROWS)
        self._waiting.add_table(table)

    def _write(self, table: pa.Table) -> None:
        key, data = self.key(len(self.parts)), encode_table(table.combine_chunks())
        self.store.put(key, data)
        self.parts.append(PartFile(key=key, rows=table.num_rows, sha256=sha256_bytes(data)))


class SortedRows:
    """Rows that are put in the order of their ``key`` once all are there: all of them in memory, as Arrow."""

    def __init__(self, schema: pa.Schema) -> None:
        self._rows = Gathered(schema)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take plain rows."""
        self._rows.add(rows)

    def finish(self) -> tuple[pa.Table, str]:
        """The table by key, and the digest of its rows (see :func:`deemo_dist.digests.digest_of_rows`)."""
        table = self._rows.take().sort_by("key")
        digest = RowsDigest()
        for start in range(0, table.num_rows, BATCH):
            for row in table.slice(start, BATCH).to_pylist(maps_as_pydicts="strict"):
                digest.add_plain(row)
        return table, digest.hex()


class Gathered:
    """Plain rows as a growing Arrow table; ``BATCH`` of them at once become Arrow."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._tables: list[pa.Table] = []
        self._plain: list[dict[str, Any]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take plain rows."""
        self._plain += rows
        self._count += len(rows)
        if len(self._plain) >= BATCH:
            self._to_arrow()

    def add_table(self, table: pa.Table) -> None:
        """Take a table, after what came before."""
        self._to_arrow()
        self._tables.append(table)
        self._count += table.num_rows

    def take(self) -> pa.Table:
        """All rows; none are left."""
        self._to_arrow()
        table = pa.concat_tables([self.schema.empty_table(), *self._tables])
        self._tables, self._count = [], 0
        return table

    def _to_arrow(self) -> None:
        if self._plain:
            self._tables.append(pa.Table.from_pylist(self._plain, schema=self.schema))
            self._plain = []
