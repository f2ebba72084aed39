"""A running sandbox child, its pipes, and how long it may keep its parent waiting."""

import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import time
from typing import Any

import numpy as np

from deemo_dist.errors import MediaError
from deemo_dist.media.wire import HEADER, SMALL

KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
START_SECONDS = 120.0
AHEAD = 2**20  # bytes that the child may be ahead of its parent


class ChildDiedError(Exception):
    """The child ended in the middle of a clip."""


class ChildSilentError(ChildDiedError):
    """The child did not answer in time: it hangs, or its machine does. It counts as a death."""


class Child:
    """A child process that answers one request at a time.

    ``patience``: seconds for which the parent may still wait for it; what the parent does between two messages does not
    count. ``idle``: no answer is under way.
    """

    def __init__(self, command: tuple[str, ...]) -> None:
        variables = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
        python = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**variables, **threads, **python},
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.out = self.process.stdout.fileno()
        with contextlib.suppress(OSError):  # beyond a user's share of all pipes it stays as small as it was made
            fcntl.fcntl(self.out, fcntl.F_SETPIPE_SZ, AHEAD)
        self.poll = select.poll()
        self.poll.register(self.out, select.POLLIN)
        self.patience = START_SECONDS
        self.idle = True
        self.ready = False
        self.closed = False

    def ask(self, request: dict[str, Any], *, patience: float) -> None:
        """Send a request, once the child is ready."""
        if not self.ready:
            self.ready = self.message(SMALL)[0] == b"R"
        assert self.process.stdin is not None
        self.patience = patience
        self.idle = False
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise ChildDiedError from None

    def message(self, most: int) -> tuple[bytes, float, np.ndarray]:
        """The next message: its kind, time and content (uint8 [at most ``most``]); raises what an ``X`` says."""
        if self.closed:
            raise MediaError("another clip was begun before this one had ended", reason="interrupted")
        kind, when, length = HEADER.unpack(self._read(HEADER.size).tobytes())
        if length > (most if kind in (b"F", b"S") else SMALL):
            raise MediaError("the decoder sent more than allowed", reason="too_large")
        content = self._read(length)
        if kind in (b"X", b"E"):
            self.idle = True
        if kind == b"X":
            said = json.loads(content.tobytes())
            raise MediaError(str(said["message"]), reason=str(said["reason"]))
        return kind, when, content

    def _read(self, count: int) -> np.ndarray:
        """Exactly ``count`` bytes; raises ``ChildDiedError``, which may be that its time is up."""
        data = np.empty(count, np.uint8)
        view, filled = data.data, 0
        while filled < count:
            begun = time.monotonic()
            if self.patience <= 0 or not self.poll.poll(self.patience * 1000):
                raise ChildSilentError
            self.patience -= time.monotonic() - begun
            part = os.readv(self.out, [view[filled:]])
            if not part:
                raise ChildDiedError
            filled += part
        return data

    def kill(self) -> int:
        """End the process and its pipes; how it ended."""
        self.closed = True
        self.process.kill()
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        return code
