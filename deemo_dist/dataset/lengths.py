"""The length of every example, measured once without media, and kept under a digest."""

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deemo_dist.dataset.codec import check_version
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.instructions import examples_digest
from deemo_dist.dataset.layout import lengths_key
from deemo_dist.dataset.mixing import Stitched
from deemo_dist.digests import digest_of
from deemo_dist.errors import CorruptDataError, DatasetError, NotFoundError
from deemo_dist.records import Example, Length

LENGTHS_VERSION = 1
_SCHEMA = pa.schema(
    [("tokens", pa.int32()), ("targets", pa.int32()), ("frames", pa.int32()), ("audio_ms", pa.int32())],
    metadata={"deemo.kind": "lengths", "deemo.version": str(LENGTHS_VERSION)},
)


@dataclass(frozen=True, kw_only=True)
class LengthTable:
    """Lengths in the order of the examples, [N] each, as narrow integers; audio in milliseconds, rounded up. ``digest``
    names it."""

    digest: str
    tokens: np.ndarray | Stitched
    targets: np.ndarray | Stitched
    frames: np.ndarray | Stitched
    audio_ms: np.ndarray | Stitched

    def __len__(self) -> int:
        return len(self.tokens)

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
    digest = digest_of(
        {
            "version": LENGTHS_VERSION,
            "dataset": dataset_digest,
            "examples": examples_digest(examples),
            "processor": processor_digest,
        }
    )
    key = lengths_key(digest)
    if store is not None:
        with suppress(NotFoundError):
            return _table(digest, _decode(store.get(key), len(examples), key))
    rows = np.array([_row(example, length_of(example)) for example in examples], np.int64).reshape(-1, 4)
    if store is not None:
        store.put(key, _encode(rows, dataset_digest))
    return _table(digest, rows)


def table_of(lengths: Sequence[Length], digest: str = "") -> LengthTable:
    """A table of lengths already at hand."""
    rows = [(length.tokens, length.targets, length.frames, audio_ms(length.audio_seconds)) for length in lengths]
    array = np.array(rows, np.int64).reshape(-1, 4)
    return _table(digest or digest_of(array.tolist()), array)


def audio_ms(seconds: float) -> int:
    """Whole milliseconds, rounded up, so that sums never pass a budget unseen."""
    return int(np.ceil(seconds * 1000 - 1e-6))


def _row(example: Example, length: Length) -> tuple[int, int, int, int]:
    if length.tokens < 1 or not 0 <= length.targets <= length.tokens or length.frames < 0 or length.audio_seconds < 0:
        raise DatasetError(
            f"example {example.key} ({example.task}) has the length {length}", hint="a processor's fault"
        )
    return length.tokens, length.targets, length.frames, audio_ms(length.audio_seconds)


def _table(digest: str, rows: np.ndarray) -> LengthTable:
    columns = [narrow(rows[:, column]) for column in range(4)]
    return LengthTable(digest=digest, tokens=columns[0], targets=columns[1], frames=columns[2], audio_ms=columns[3])


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


def _encode(rows: np.ndarray, dataset_digest: str) -> bytes:
    sink = io.BytesIO()
    columns = [pa.array(rows[:, column], pa.int32()) for column in range(4)]
    schema = _SCHEMA.with_metadata({**_SCHEMA.metadata, b"deemo.dataset": dataset_digest.encode()})
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink, compression="zstd")
    return sink.getvalue()


def _decode(data: bytes, count: int, where: str) -> np.ndarray:
    try:
        table = pq.read_table(pa.BufferReader(data))
        found = int((table.schema.metadata or {}).get(b"deemo.version", b"0"))
        check_version("lengths", found, LENGTHS_VERSION, where)
        rows = np.stack([table.column(name).to_numpy().astype(np.int64) for name in _SCHEMA.names], axis=1)
    except (pa.ArrowException, KeyError, OSError):
        raise CorruptDataError(
            f"{where}: not a readable table of lengths", hint="delete it: it is measured anew"
        ) from None
    if len(rows) != count:
        raise CorruptDataError(f"{where}: {len(rows)} rows instead of {count}", hint="delete it: it is measured anew")
    return rows
