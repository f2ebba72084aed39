"""The ustar headers of our shards: regular files, mode 644, times and owners zero. As ``tarfile`` writes them, faster.

Layout: IEEE Std 1003.1 (pax), "ustar Interchange Format".
"""

from deemo_dist.errors import DatasetError

BLOCK = 512
END = b"\0" * (2 * BLOCK)
"""What a tar ends with."""

LARGEST = 8**11 - 1
"""Bytes of the largest member that eleven octal digits can say."""

_BEFORE = b"0000644\0" + b"0000000\0" * 2
_TIME = b"0" * 11 + b"\0"
_AFTER = b" 0" + b"\0" * 100 + b"ustar\x0000" + b"\0" * (BLOCK - 265)
_SUM = sum(_BEFORE) + sum(_TIME) + sum(b" " * 7) + sum(_AFTER)
_PADDING = tuple(b"\0" * (-rest % BLOCK) for rest in range(BLOCK))


def header(name: str, size: int) -> bytes:
    """The 512 bytes before a member called ``name`` of ``size`` bytes.

    Raises ``DatasetError`` for a name that is not 1 to 100 ASCII characters, or a size beyond ``LARGEST``.
    """
    if not (name.isascii() and 0 < len(name) <= 100) or not 0 <= size <= LARGEST:
        raise DatasetError(f"a tar member cannot be called {name!r:.120} and have {size} bytes")
    label, octal = name.encode(), b"%011o\0" % size
    total = b"%06o\0" % (_SUM + sum(label) + sum(octal))
    return b"".join((label.ljust(100, b"\0"), _BEFORE, octal, _TIME, total, _AFTER))


def padding(size: int) -> bytes:
    """The zeros between the end of a member of ``size`` bytes and the next block."""
    return _PADDING[size % BLOCK]
