"""The sandbox child: decodes one clip at a time under resource limits, and says what it found on a pipe.

Run as ``python -m deemo_dist.media.child``; it ends when its standard input, a socket, closes. It reads one JSON
request a line ({verb, ending, bounds, picture, sound}), with which comes the clip as an open descriptor. It has no
secret in its environment, and has given up all else, the opening of files included (see ``confine``).
A parent that does not read makes it wait: nothing is held here but the frame in hand.
"""

import importlib
import json
import os
import pkgutil
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from deemo_dist.errors import MediaError
from deemo_dist.media.confine import confine
from deemo_dist.media.container import probe
from deemo_dist.media.decode import decode_into
from deemo_dist.media.handed import Handed
from deemo_dist.media.types import Bounds, plain_info
from deemo_dist.media.wire import SMALL, pack

PROGRAMS = ("av.__main__", "av.about", "av.datasets")


class _Pipe:
    """Sends a clip to the parent as it is decoded."""

    def __init__(self, out: BinaryIO) -> None:
        self.out, self.begun = out, False

    def send(self, kind: bytes, content: bytes | memoryview = b"", time: float = 0.0) -> None:
        self.out.write(pack(kind, content, time))
        self.out.write(content)
        self.out.flush()

    def frame(self, image: np.ndarray, time: float) -> None:
        if not self.begun:
            self.begun = True
            self.send(b"B", json.dumps({"height": image.shape[0], "width": image.shape[1]}).encode())
        self.send(b"F", image.data.cast("B"), time)

    def sound(self, samples: np.ndarray) -> None:
        self.send(b"S", np.ascontiguousarray(samples, np.float32).data.cast("B"))


def main() -> None:
    """Serve requests until standard input closes."""
    out = _own_standard_output()
    door = socket.socket(fileno=os.dup(0))
    _load()
    base = _address_space()
    confine()
    _Pipe(out).send(b"R")
    for request, descriptor in _requests(door):
        bounds = Bounds(**request["bounds"])
        _limit_clip(bounds, base)
        _serve(_Pipe(out), request, Handed(descriptor, f"clip{request['ending']}"), bounds)
        os.close(descriptor)


def _own_standard_output() -> BinaryIO:
    """Keep the pipe for messages alone: what a C library prints goes nowhere."""
    pipe = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return pipe


def _requests(door: socket.socket) -> Iterator[tuple[dict[str, Any], int]]:
    """Each request and the descriptor that came with it."""
    line, descriptors = b"", list[int]()
    while True:
        part, found, _, _ = socket.recv_fds(door, SMALL, 1)
        if not part:
            return
        line, descriptors = line + part, [*descriptors, *found]
        if line.endswith(b"\n"):
            yield json.loads(line), descriptors.pop()
            line = b""


def _load() -> None:
    """Load what is needed before the limits: its libraries are not counted against a clip, and no file can be opened
    afterwards."""
    import av

    for _, name, _ in pkgutil.walk_packages(av.__path__, "av."):
        if not name.startswith(PROGRAMS):
            importlib.import_module(name)
    av.logging.set_level(av.logging.PANIC)


def _address_space() -> int:
    """Bytes of address space in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _limit_clip(bounds: Bounds, base: int) -> None:
    """Bound the memory beyond ``base``, and the processor time from now on (beyond it: SIGXCPU)."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (base + bounds.memory_bytes, hard))
    seconds = int(_processor_seconds() + bounds.cpu_seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))


def _serve(pipe: _Pipe, request: dict[str, Any], clip: Handed, bounds: Bounds) -> None:
    """Answer one request with its messages, ending in ``E`` or ``X``."""
    import av

    try:
        pipe.send(b"E", json.dumps(_answer(pipe, request, clip, bounds)).encode())
    except MediaError as error:
        pipe.send(b"X", json.dumps({"reason": error.reason, "message": error.message}).encode())
    except MemoryError:
        pipe.send(b"X", json.dumps({"reason": "too_large", "message": "it needs too much memory"}).encode())
    except (OSError, ValueError, LookupError, ArithmeticError, RuntimeError, av.error.FFmpegError) as error:
        said = getattr(error, "strerror", None) or type(error).__name__
        pipe.send(b"X", json.dumps({"reason": "corrupt", "message": f"it cannot be read ({said})"}).encode())


def _answer(pipe: _Pipe, request: dict[str, Any], clip: Handed, bounds: Bounds) -> dict[str, Any]:
    before = _processor_seconds()
    if request["verb"] == "probe":
        return {"info": plain_info(probe(clip, bounds)), "cpu_seconds": _processor_seconds() - before}
    tail = decode_into(clip, bounds, pipe, picture=request["picture"], sound=request["sound"])
    return {
        "fps": [tail.fps.numerator, tail.fps.denominator],
        "has_sound": tail.has_sound,
        "cpu_seconds": _processor_seconds() - before,
    }


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
