"""Parquet bytes as tables."""

import pyarrow as pa
import pyarrow.parquet as pq


def parquet_table(data: bytes) -> pa.Table:
    """The table in Parquet bytes. Raises ``pyarrow.ArrowException`` or ``OSError`` for bytes that are none.

    By this thread alone: ``pq.read_table`` leaves the last reference to ``data`` with a thread of Arrow's. Where the
    process ends just then, that thread asks for an interpreter that is gone, and aborts (one exit of four to six of a
    process that reads and ends, Arrow 25).
    """
    return pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
