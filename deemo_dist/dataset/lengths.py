"""The length of every example, measured once without media, and kept under a digest."""

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from deemo_dist.dataset.codec import check_version
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.instructions import examples_digest
from deemo_dist.dataset.layout import lengths_key
from deemo_dist.dataset.mixing import Stitched
from deemo_dist.dataset.ranged import ObjectFile
from deemo_dist.digests import digest_of
from deemo_dist.errors import CorruptDataError, DatasetError, NotFoundError
from deemo_dist.records import Example, Length

LENGTHS_VERSION = 1
CHUNK = 2**16
"""Rows that are measured before they are made narrow."""

ROWS = 2**20
"""Rows of a stored group: what is wide in memory at once when a table is read."""

_SCHEMA = pa.schema(
    [("tokens", pa.int32()), ("targets", pa.int32()), ("frames", pa.int32()), ("audio_ms", pa.int32())],
    metadata={"deemo.kind": "lengths", "deemo.version": str(LENGTHS_VERSION)},
)
_CONTENT = b"deemo.content"
"""Where a table's schema says the digest of its numbers."""


@dataclass(frozen=True, kw_only=True)
class LengthTable:
    """Lengths in the order of the examples, [N] each, as narrow integers; audio in milliseconds, rounded up. ``digest``
    names it; ``of``: the digests of the tables that it was made of, where it is none that is stored itself."""

    digest: str
    tokens: np.ndarray | Stitched
    targets: np.ndarray | Stitched
    frames: np.ndarray | Stitched
    audio_ms: np.ndarray | Stitched
    of: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def measured(self) -> tuple[str, ...]:
        """The digests of the tables, as they were measured, that it comes from."""
        return self.of or (self.digest,)

    def costs(self, numbers: np.ndarray | None = None) -> np.ndarray:
        """What packing counts, of the examples with these numbers (None: of all): int64 [N, 3] of tokens, frames, audio
        milliseconds."""
        chosen = slice(None) if numbers is None else numbers
        return np.stack([self.tokens[chosen], self.frames[chosen], self.audio_ms[chosen]], axis=1, dtype=np.int64)

    def largest(self) -> tuple[int, int, int]:
        """The largest tokens, frames and audio milliseconds of any example."""
        return tuple(int(column.max(initial=0)) for column in (self.tokens, self.frames, self.audio_ms))  # type: ignore[return-value]


def measure_lengths(
    examples: Sequence[Example],
    length_of: Callable[[Example], Length],
    *,
    dataset_digest: str,
    processor_digest: str,
    store: Door | None = None,
) -> LengthTable:
    """Lengths of ``examples`` by ``length_of``; read from ``store`` where they were measured before, else put there.

    ``processor_digest`` names everything ``length_of`` depends on. Raises ``DatasetError`` for a length that makes no
    sense (no tokens, more targets than tokens), ``CorruptDataError`` for a damaged table.
    """
    digest = lengths_digest(examples, dataset_digest=dataset_digest, processor_digest=processor_digest)
    key = lengths_key(digest)
    if store is not None:
        with suppress(NotFoundError):
            return read_lengths(store, key, len(examples), digest=digest)
    columns = _measured(examples, length_of)
    if store is not None:
        write_lengths(store, key, columns, dataset_digest=dataset_digest)
    return _table(digest, columns)


def lengths_digest(examples: Sequence[Example], *, dataset_digest: str, processor_digest: str) -> str:
    """The digest under which the lengths of ``examples`` are kept: of all that they depend on."""
    return digest_of(
        {
            "version": LENGTHS_VERSION,
            "dataset": dataset_digest,
            "examples": examples_digest(examples),
            "processor": processor_digest,
        }
    )


def table_of(lengths: Sequence[Length], digest: str = "") -> LengthTable:
    """A table of lengths already at hand."""
    rows = [(length.tokens, length.targets, length.frames, audio_ms(length.audio_seconds)) for length in lengths]
    array = np.array(rows, np.int64).reshape(-1, 4)
    return _table(digest or digest_of(array.tolist()), list(array.T))


def audio_ms(seconds: float) -> int:
    """Whole milliseconds, rounded up, so that sums never pass a budget unseen."""
    return int(np.ceil(seconds * 1000 - 1e-6))


def _row(example: Example, length: Length) -> tuple[int, int, int, int]:
    if length.tokens < 1 or not 0 <= length.targets <= length.tokens or length.frames < 0 or length.audio_seconds < 0:
        raise DatasetError(
            f"example {example.key} ({example.task}) has the length {length}", hint="a processor's fault"
        )
    return length.tokens, length.targets, length.frames, audio_ms(length.audio_seconds)


def _measured(examples: Sequence[Example], length_of: Callable[[Example], Length]) -> list[np.ndarray]:
    """The four columns, made chunk by chunk: what stands in memory is narrow."""
    parts: list[list[np.ndarray]] = [[] for _ in _SCHEMA.names]
    rows = (_row(example, length_of(example)) for example in examples)
    while chunk := list(islice(rows, CHUNK)):
        for part, column in zip(parts, np.array(chunk, np.int64).T, strict=True):
            part.append(narrow(column))
    return [np.concatenate(part) if part else np.zeros(0, np.uint8) for part in parts]


def _table(digest: str, columns: Sequence[np.ndarray]) -> LengthTable:
    named: dict[str, Any] = {name: narrow(column) for name, column in zip(_SCHEMA.names, columns, strict=True)}
    return LengthTable(digest=digest, **named)


def narrow(values: np.ndarray) -> np.ndarray:
    """A column [N] of numbers from 0 up, in the smallest unsigned integers that hold them: plans of a hundred million
    rows then fit in memory."""
    return np.ascontiguousarray(values, np.min_scalar_type(int(values.max(initial=0))))


def lengths_of_what(data: bytes) -> str:
    """Digest of the dataset that a stored table was measured on; empty where an older one does not say. Raises
    ``CorruptDataError`` for what is no such table."""
    try:
        metadata = pq.read_schema(pa.BufferReader(data)).metadata or {}
    except (pa.ArrowException, OSError):
        raise CorruptDataError("not a readable table of lengths") from None
    return str(metadata.get(b"deemo.dataset", b"").decode())


def write_lengths(store: Door, key: str, columns: Sequence[np.ndarray], *, dataset_digest: str) -> None:
    """Put a table: tokens, targets, frames, audio milliseconds, integers [N] each, in groups of ``ROWS`` rows. Its
    schema says of what dataset it is, and the digest of the numbers in it."""
    sink = io.BytesIO()
    said = {b"deemo.dataset": dataset_digest.encode(), _CONTENT: _digest_of_content(columns).encode()}
    schema = _SCHEMA.with_metadata({**_SCHEMA.metadata, **said})
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for start in range(0, len(columns[0]), ROWS):
            part = [pa.array(column[start : start + ROWS], pa.int32()) for column in columns]
            writer.write_table(pa.Table.from_arrays(part, schema=schema))
    store.put(key, sink.getvalue())


def read_lengths(store: Door, key: str, count: int | None, *, digest: str) -> LengthTable:
    """A stored table of ``count`` rows (None: of any number), one column after the other and a group of rows at a time:
    no more than one group is wide or packed in memory.

    Raises ``NotFoundError`` where there is none, ``CorruptDataError`` for a damaged one: also where its numbers do not
    have the digest that it names (older ones name none).
    """
    file = ObjectFile(store, key)
    anew = "delete it: it is measured anew"
    try:
        table = pq.ParquetFile(pa.PythonFile(file, mode="r"))
        metadata = table.schema_arrow.metadata or {}
        check_version("lengths", int(metadata.get(b"deemo.version", b"0")), LENGTHS_VERSION, key)
        rows = int(table.metadata.num_rows)
        columns = [_column(table, name) for name in _SCHEMA.names] if count in (None, rows) else []
    except (pa.ArrowException, KeyError, OSError):
        raise CorruptDataError(f"{key}: not a readable table of lengths", hint=anew) from None
    if count not in (None, rows):
        raise CorruptDataError(f"{key}: {rows} rows instead of {count}", hint=anew)
    named = metadata.get(_CONTENT)
    if named is not None and named.decode() != _digest_of_content(columns):
        raise CorruptDataError(f"{key}: its lengths do not have the digest that it names", hint=anew)
    return _table(digest, columns)


def _digest_of_content(columns: Sequence[np.ndarray]) -> str:
    """Hex BLAKE3 of the columns, integers [N] each, one after the other as little-endian int32, a chunk at a time."""
    state = blake3()
    for column in columns:
        for start in range(0, len(column), CHUNK):
            state.update(np.ascontiguousarray(column[start : start + CHUNK], "<i4").tobytes())
    return str(state.hexdigest())


def _column(table: pq.ParquetFile, name: str) -> np.ndarray:
    """A column [N] as narrow as its groups of rows let it be. Raises ``KeyError`` where there is none."""
    groups = range(table.num_row_groups)
    place = table.schema_arrow.get_field_index(name)
    if place < 0:
        raise KeyError(name)
    bounds = [table.metadata.row_group(group).column(place).statistics for group in groups]
    known = all(bound is not None and bound.has_min_max for bound in bounds)
    most = max((int(bound.max) for bound in bounds), default=0) if known else np.iinfo(np.int32).max
    column = np.empty(table.metadata.num_rows, np.min_scalar_type(most))
    start = 0
    for group in groups:
        part = table.read_row_group(group, columns=[name], use_threads=False).column(0).to_numpy()
        if len(part) and not 0 <= part.min() <= part.max() <= most:
            raise pa.ArrowInvalid(f"column {name} holds what its statistics exclude")
        column[start : start + len(part)] = part
        start += len(part)
    return column
