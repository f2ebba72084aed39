"""Objects between processes of one machine: what is small through a pipe; arrays, tensors and whatever is large in
shared memory, so that sending never waits for a process that does not read.

The memory is a file without a name (``memfd_create``) whose descriptor goes along, so that nothing is left behind
whatever process dies. Linux. Between a parent and the children it started only: what comes is unpickled.
"""

import io
import mmap
import os
import pickle
import sys
from collections.abc import Sequence
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

from deemo_dist.errors import DatasetError

ALIGNMENT = 64
INLINE = 2**14
"""Bytes that go through the pipe: a few times as many fit in its buffer."""


def send(pipe: Connection, value: Any) -> None:
    """Send ``value``. Raises ``pickle.PicklingError`` and the like before anything is sent, ``OSError`` where the other
    end is gone."""
    buffers: list[pickle.PickleBuffer] = []
    sink = io.BytesIO()
    _Pickler(sink, protocol=5, buffer_callback=buffers.append).dump(value)
    views = [buffer.raw() for buffer in buffers]
    spans, size = _layout([view.nbytes for view in views])
    body, start = pickle.dumps((spans, sink.getvalue())), None
    if len(body) > INLINE:
        start, size = size, size + len(body)
        views, spans, body = [*views, memoryview(body)], [*spans, (start, len(body))], b""
    pipe.send_bytes(pickle.dumps((size, start)))
    pipe.send_bytes(body)
    if size:
        _send_memory(pipe, views, spans, size)


def receive(pipe: Connection) -> Any:
    """What the other end sent. Raises ``EOFError`` or ``OSError`` where it is gone, ``DatasetError`` for what came
    whole and cannot be rebuilt here: the pipe serves on."""
    size, start = pickle.loads(pipe.recv_bytes())  # noqa: S301 - of our own child
    body = pipe.recv_bytes()
    memory = _receive_memory(pipe, size) if size else memoryview(bytearray())
    spans, data = pickle.loads(memory[start:] if start is not None else body)  # noqa: S301
    return _rebuilt(data, [memory[begin : begin + length] for begin, length in spans])


def _receive_memory(pipe: Connection, size: int) -> memoryview:
    descriptor = reduction.recv_handle(pipe)
    try:
        return memoryview(mmap.mmap(descriptor, size))
    finally:
        os.close(descriptor)


def _rebuilt(data: bytes, buffers: Sequence[memoryview]) -> Any:
    try:
        return pickle.loads(data, buffers=buffers)  # noqa: S301 - of our own parent or child
    except Exception as error:
        raise DatasetError(f"what a process sent cannot be rebuilt: {type(error).__name__}: {error}") from error


def _layout(sizes: Sequence[int]) -> tuple[list[tuple[int, int]], int]:
    """(start, bytes) of each buffer in the shared memory, aligned, and the bytes of it all."""
    spans: list[tuple[int, int]] = []
    end = 0
    for size in sizes:
        spans.append((end, size))
        end += size + -size % ALIGNMENT
    return spans, end


def _send_memory(pipe: Connection, views: Sequence[memoryview], spans: Sequence[tuple[int, int]], size: int) -> None:
    descriptor = os.memfd_create("deemo-batch", os.MFD_CLOEXEC)
    try:
        os.truncate(descriptor, size)
        for view, (start, _) in zip(views, spans, strict=True):
            _write_at(descriptor, view, start)
        reduction.send_handle(pipe, descriptor, os.getpid())
    finally:
        os.close(descriptor)


def _write_at(descriptor: int, view: memoryview, start: int) -> None:
    while view.nbytes:
        done = os.pwrite(descriptor, view, start)
        view, start = view[done:], start + done


class _Pickler(pickle.Pickler):
    """Pickles tensors as their bytes: torch's own way copies them through the pipe, or leaves named memory behind."""

    def reducer_override(self, value: Any) -> Any:
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(value, torch.Tensor):
            return NotImplemented
        flat = value.detach().cpu().contiguous().reshape(-1)
        words = flat.view(torch.uint8).numpy() if flat.numel() else None
        raw = None if words is None else pickle.PickleBuffer(words)
        return _tensor, (raw, str(value.dtype).removeprefix("torch."), tuple(value.shape))


def _tensor(raw: Any, dtype: str, shape: tuple[int, ...]) -> Any:
    """A tensor over shared memory, or an empty one."""
    import torch

    kind = getattr(torch, dtype)
    return torch.empty(shape, dtype=kind) if raw is None else torch.frombuffer(raw, dtype=kind).reshape(shape)
