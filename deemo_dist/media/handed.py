"""A file that another process opened and handed over: it is read without being opened, by any number of readers."""

import io
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Handed:
    """The open descriptor of a regular file. ``name``: what it is called, of which only the ending says something."""

    descriptor: int
    name: str

    def head(self, count: int) -> bytes:
        """Its first bytes."""
        return os.pread(self.descriptor, count, 0)

    def reader(self) -> io.RawIOBase:
        """A reader at the file's begin, with a place of its own."""
        return _Reader(self)


class _Reader(io.RawIOBase):
    def __init__(self, file: Handed) -> None:
        self.name = file.name
        self._descriptor, self._place = file.descriptor, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = os.preadv(self._descriptor, [buffer], self._place)
        self._place += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: os.fstat(self._descriptor).st_size}
        if starts[whence] + offset < 0:
            raise ValueError("before the begin of the file")
        self._place = starts[whence] + offset
        return self._place

    def tell(self) -> int:
        return self._place
