"""Tensors written to files and read back past the kernel's cache, in threads: what DeepSpeed's swapper calls its
``aio_handle``.

DeepSpeed's own (an extension over libaio, compiled for minutes at its first use) does not look at how a transfer
ended. In 0.19.8, a write to a disk that is full reports success, and a read into memory that is not aligned to the
disk's blocks leaves there what was there before: both were tried. Here every failure is raised.
"""

import mmap
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

THREADS = 8
CHUNK = 8 * 2**20
"""Bytes of one transfer: as many threads keep as many of a disk's queues busy."""
ALIGNED = 4096
"""Addresses, offsets and sizes that are multiples of this suit every disk."""


class DirectFiles:
    """Transfers are begun by ``async_pread`` and ``async_pwrite`` (0: begun) and ended by ``wait``, which gives their
    number. Raises ``OSError`` there."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="swap")
        self.begun: list[list[Future[None]]] = []
        self.regions: dict[int, int] = {}

    def new_cpu_locked_tensor(self, numel: int, like: Tensor) -> Tensor:
        """Memory that transfers may go through: aligned, of ``like``'s type, zero."""
        size = numel * like.element_size()
        memory = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        tensor = torch.frombuffer(memory, dtype=like.dtype, count=numel)
        self.regions[tensor.data_ptr()] = size
        return tensor

    def free_cpu_locked_tensor(self, tensor: Tensor) -> bool:
        """Forget such memory; it goes with the last tensor over it."""
        return self.regions.pop(tensor.data_ptr(), None) is not None

    def is_pinned(self, tensor: Tensor) -> bool:
        """Whether a tensor lies wholly in such memory."""
        first, end = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
        return any(start <= first and end <= start + size for start, size in self.regions.items())

    def async_pread(self, tensor: Tensor, path: str, offset: int) -> int:
        """Begin to fill a tensor from a file."""
        return self._begin(_read, os.O_RDONLY, tensor, path, offset)

    def async_pwrite(self, tensor: Tensor, path: str, offset: int) -> int:
        """Begin to write a tensor into a file."""
        return self._begin(_write, os.O_WRONLY | os.O_CREAT, tensor, path, offset)

    def wait(self) -> int:
        """Wait for all that was begun; how many tensors that were. Raises the first ``OSError``."""
        begun, self.begun = self.begun, []
        failures = [job.exception() for jobs in begun for job in jobs]
        for failure in failures:
            if failure is not None:
                raise failure
        return len(begun)

    def close(self) -> None:
        """Let the threads go."""
        self.pool.shutdown()

    def _begin(
        self, transfer: Callable[[str, int, memoryview, int], None], flags: int, tensor: Tensor, path: str, offset: int
    ) -> int:
        data = tensor.detach().numpy().data.cast("B")
        self.begun.append(
            [
                self.pool.submit(transfer, path, flags, data[start : start + CHUNK], offset + start)
                for start in range(0, len(data), CHUNK)
            ]
        )
        return 0


def _write(path: str, flags: int, data: memoryview, offset: int) -> None:
    file = _open(path, flags)
    try:
        done = 0
        while done < len(data):
            done += os.pwrite(file, data[done:], offset + done)
    finally:
        os.close(file)


def _read(path: str, flags: int, data: memoryview, offset: int) -> None:
    file = _open(path, flags)
    try:
        done = 0
        while done < len(data):
            count = os.preadv(file, [data[done:]], offset + done)
            if not count:
                raise OSError(f"{path} ends before byte {offset + len(data)}")
            done += count
    finally:
        os.close(file)


def _open(path: str, flags: int) -> int:
    """A file, past the kernel's cache where its file system can."""
    try:
        return os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC, 0o600)
    except OSError:
        return os.open(path, flags | os.O_CLOEXEC, 0o600)
