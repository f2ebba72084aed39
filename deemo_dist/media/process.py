"""A running sandbox child, its pipes, and how long it may keep its parent waiting."""

import contextlib
import fcntl
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from deemo_dist.errors import MediaError
from deemo_dist.media.wire import HEADER, SMALL

KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
START_SECONDS = 120.0
REASONS = ("empty", "not_media", "no_video", "corrupt", "too_long", "too_large", "bad_audio")
LONGEST_MESSAGE = 200
AHEAD = 2**20  # bytes that the child may be ahead of its parent


class ChildDiedError(Exception):
    """The child ended in the middle of a clip."""


class ChildSilentError(ChildDiedError):
    """The child did not answer in time: it hangs, or its machine does. It counts as a death. ``cpu_seconds``: processor
    time that it had spent on the request."""

    def __init__(self, cpu_seconds: float) -> None:
        super().__init__(cpu_seconds)
        self.cpu_seconds = cpu_seconds


class Child:
    """A child process that answers one request at a time.

    ``patience``: seconds for which the parent may still wait for it; what the parent does between two messages does not
    count. ``idle``: no answer is under way.
    """

    def __init__(self, command: tuple[str, ...]) -> None:
        variables = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
        python = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
        self.door, theirs = socket.socketpair()
        try:
            self.process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**variables, **threads, **python},
                start_new_session=True,
            )
        except OSError:
            self.door.close()
            raise
        finally:
            theirs.close()
        assert self.process.stdout is not None
        self.out = self.process.stdout.fileno()
        with contextlib.suppress(OSError):  # beyond a user's share of all pipes it stays as small as it was made
            fcntl.fcntl(self.out, fcntl.F_SETPIPE_SZ, AHEAD)
        self.poll = select.poll()
        self.poll.register(self.out, select.POLLIN)
        self.patience = START_SECONDS
        self.spent = 0.0
        self.idle = True
        self.ready = False
        self.closed = False

    def ask(self, request: dict[str, Any], clip: Path, *, patience: float) -> None:
        """Send a request with the clip as an open file, once the child is ready. Raises ``MediaError`` (missing,
        corrupt) for what is no file, or one that cannot be opened."""
        if not self.ready:
            self.ready = self.message(SMALL)[0] == b"R"
        with opened(clip) as descriptor:
            self.patience, self.spent = patience, self.cpu_seconds()
            self.idle = False
            line = json.dumps(request | {"ending": clip.suffix}).encode() + b"\n"
            try:
                sent = socket.send_fds(self.door, [line], [descriptor])
                self.door.sendall(line[sent:])
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
            raise _refusal(content.tobytes())
        return kind, when, content

    def _read(self, count: int) -> np.ndarray:
        """Exactly ``count`` bytes; raises ``ChildDiedError``, which may be that its time is up."""
        data = np.empty(count, np.uint8)
        view, filled = data.data, 0
        while filled < count:
            begun = time.monotonic()
            if self.patience <= 0 or not self.poll.poll(self.patience * 1000):
                raise ChildSilentError(self.cpu_seconds() - self.spent)
            self.patience -= time.monotonic() - begun
            part = os.readv(self.out, [view[filled:]])
            if not part:
                raise ChildDiedError
            filled += part
        return data

    def cpu_seconds(self) -> float:
        """Processor time of the child so far, by the kernel's account of it; 0 where there is none to be had."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime, see proc(5)

    def kill(self) -> int:
        """End the process and its pipes; how it ended."""
        self.closed = True
        self.process.kill()
        code = self.process.wait()
        self.door.close()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


@contextlib.contextmanager
def opened(clip: Path) -> Iterator[int]:
    """The descriptor of a regular file. Raises ``MediaError`` (missing, corrupt)."""
    if not clip.is_file():
        raise MediaError("there is no such file", reason="missing")
    try:
        descriptor = os.open(clip, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise MediaError(f"it cannot be read ({error.strerror})", reason="corrupt") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _refusal(content: bytes) -> MediaError:
    """What the child says is wrong with a clip. It is not trusted: whoever has taken it over could write there what is
    in the clip, and reasons go into the ledger."""
    try:
        said = json.loads(content)
        reason, message = said["reason"], str(said["message"])
    except (ValueError, LookupError, TypeError):
        reason, message = "", ""
    if reason not in REASONS or not message.isprintable() or len(message) > LONGEST_MESSAGE:
        return MediaError("the decoder said something unknown", reason="crashed")
    return MediaError(message, reason=str(reason))
