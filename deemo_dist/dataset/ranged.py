"""A stored object as a file that is read by ranges, for readers that take files: it never stands in memory whole."""

import io

from deemo_dist.dataset.door import Door

WHOLE = 32 * 2**20
"""Bytes up to which an object is read at once: one request beats many."""


class ObjectFile:
    """``key`` of ``store`` as a readable file. Raises ``NotFoundError`` where there is none."""

    def __init__(self, store: Door, key: str) -> None:
        self.store, self.key = store, key
        self.size = store.size(key)
        self.closed = False
        self._at = 0
        self._whole = store.get(key) if self.size <= WHOLE else None

    def read(self, count: int = -1) -> bytes:
        """The next ``count`` bytes (-1: all that is left)."""
        left = self.size - self._at
        count = left if count < 0 else min(count, left)
        if count < 1:
            return b""
        start, self._at = self._at, self._at + count
        if self._whole is not None:
            return self._whole[start : start + count]
        return self.store.get_range(self.key, start, count)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, of the start, of here or of the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Where it is."""
        return self._at

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def writable(self) -> bool:
        """No."""
        return False

    def flush(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing more is read."""
        self.closed, self._whole = True, None
