"""Our tar headers are byte for byte those of the standard library, and so is a whole shard."""

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.dataset import ShardWriter
from deemo_dist.dataset.shards import BATCH
from deemo_dist.dataset.ustar import LARGEST, header, padding
from deemo_dist.errors import DatasetError

NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/"), min_size=1, max_size=100)


def tarfile_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


@given(NAMES, st.integers(0, LARGEST))
@settings(max_examples=300, deadline=None)
def test_a_header_is_that_of_tarfile(name: str, size: int) -> None:
    assert header(name, size) == tarfile_header(name, size)
    assert (size + len(padding(size))) % 512 == 0
    assert len(padding(size)) < 512


@pytest.mark.parametrize(("name", "size"), [("", 1), ("a" * 101, 1), ("ä", 1), ("a", -1), ("a", LARGEST + 1)])
def test_what_ustar_cannot_say_is_refused(name: str, size: int) -> None:
    with pytest.raises(DatasetError, match="tar member"):
        header(name, size)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, BATCH - 512, BATCH + 1, 3 * BATCH])
def test_a_shard_is_what_tarfile_would_write(size: int) -> None:
    files = {"mp4": b"m" * size, "flac": b"", "json": b"{}"}
    keys = [f"{number:032x}" for number in range(3)]
    writer, sink = ShardWriter(0), io.BytesIO()
    for key in keys:
        writer.add(key, files)
        for extension, data in files.items():
            sink.write(tarfile_header(f"{key}.{extension}", len(data)) + data + b"\0" * (-len(data) % 512))
    sink.write(b"\0" * 1024)
    shard = writer.finish()
    assert shard is not None
    assert b"".join(shard.chunks) == sink.getvalue()
    assert shard.tar.holds(sink.getvalue())
