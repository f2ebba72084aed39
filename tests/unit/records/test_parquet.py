"""A table from Parquet bytes, and the end of a process that has just read one."""

import io
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deemo_dist.records.parquet import parquet_table

ENDS = 12
READS_AND_ENDS = """
import io
import pyarrow as pa, pyarrow.parquet as pq
from deemo_dist.records.parquet import parquet_table
sink = io.BytesIO()
pq.write_table(pa.table({f"c{i}": [str(j) for j in range(2000)] for i in range(12)}), sink)
assert parquet_table(sink.getvalue()).num_rows == 2000
"""


def test_a_table_is_read_as_it_was_written():
    table = pa.table({"a": [1, None, 3], "b": [["x"], [], None]}).replace_schema_metadata({"k": "v"})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    found = parquet_table(sink.getvalue())
    assert found.to_pylist() == table.to_pylist() and found.schema.metadata == {b"k": b"v"}


@pytest.mark.parametrize("data", [b"", b"PAR1", b"rubbish" * 100])
def test_bytes_that_are_no_table_raise(data):
    with pytest.raises((pa.ArrowException, OSError)):
        parquet_table(data)


@pytest.mark.slow
def test_a_process_that_reads_and_ends_does_not_abort():
    codes = [subprocess.run([sys.executable, "-c", READS_AND_ENDS], check=False).returncode for _ in range(ENDS)]
    assert codes == [0] * ENDS
