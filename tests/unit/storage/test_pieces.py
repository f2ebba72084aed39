"""Pieces read as one file are the bytes that joining them would give."""

import io
import os

from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.storage.pieces import Pieces

PIECES = st.lists(st.binary(max_size=20), max_size=6)


@given(pieces=PIECES, sizes=st.lists(st.integers(1, 30), max_size=20))
def test_whatever_is_read_at_once_it_is_the_same_bytes(pieces: list[bytes], sizes: list[int]) -> None:
    file, whole = Pieces(pieces), b"".join(pieces)
    assert b"".join(file.read(size) or b"" for size in sizes) == whole[: sum(sizes)]
    file.seek(0)
    assert file.read() == whole and file.read() == b"" and file.tell() == len(whole)


@given(pieces=PIECES, place=st.integers(-10, 130))
def test_it_is_sought_in_as_in_a_file(pieces: list[bytes], place: int) -> None:
    file, whole = Pieces(pieces), io.BytesIO(b"".join(pieces))
    assert file.seek(0, os.SEEK_END) == whole.seek(0, os.SEEK_END)
    file.seek(max(0, place))
    whole.seek(max(0, place))
    assert file.read(7) == whole.read(7) and file.tell() == whole.tell()
    assert file.seek(-min(2, file.tell()), os.SEEK_CUR) == whole.seek(-min(2, whole.tell()), os.SEEK_CUR)
    assert file.read() == whole.read()
