"""Pieces of bytes as one file to be read, for a client that sends it: they are never joined."""

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any


class Pieces(io.RawIOBase):
    """A read-only file of pieces, one after another. It can be sought in: a client measures, signs and resends it."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = [memoryview(piece) for piece in pieces if piece]
        self._ends = list(accumulate(piece.nbytes for piece in self._pieces))
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to ``offset`` from the start, from here or from the end; where that is."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._ends[-1] if self._ends else 0}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` as far as there is something; how many bytes that was."""
        view = memoryview(buffer).cast("B")
        done = 0
        number = bisect_right(self._ends, self._at)
        while done < view.nbytes and number < len(self._pieces):
            piece = self._pieces[number]
            start = self._at - (self._ends[number] - piece.nbytes)
            part = piece[start : start + view.nbytes - done]
            view[done : done + part.nbytes] = part
            done, self._at, number = done + part.nbytes, self._at + part.nbytes, number + 1
        return done
