"""Memory that a state is copied into: the process's own, or a file's on a local disk, mapped."""

import mmap
from collections.abc import Callable

import torch

Buffer = bytearray | mmap.mmap
MakeBuffer = Callable[[int], Buffer]
"""A buffer of so many bytes, zero; ``bytearray`` makes one in memory."""


def floats(buffer: Buffer, start: int = 0) -> torch.Tensor:
    """The buffer's bytes from ``start`` on as float32, without a copy. At least one element."""
    return torch.frombuffer(memoryview(buffer)[start:], dtype=torch.float32)


def let_go(buffer: Buffer) -> None:
    """Give back what memory a mapped buffer takes for now: what was written stays in its file."""
    if isinstance(buffer, mmap.mmap):
        buffer.madvise(mmap.MADV_DONTNEED)
