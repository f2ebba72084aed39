"""One child process of a launcher: its own process group, tied to its parent's life, its last lines kept."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

GUARD = Path(__file__).with_name("guard.py")
TAIL_LINES = 20
LINE_BYTES = 2000
STACKS_SIGNAL = signal.SIGQUIT
STACKS_SECONDS = 0.5
"""What a rank needs to write its stacks."""
_FIRST_PORT, _LAST_PORT = 20_000, 32_000


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that is free on ``host`` now, below the range from which outgoing connections draw theirs."""
    candidates = random.SystemRandom().sample(range(_FIRST_PORT, _LAST_PORT), 200)
    for port in candidates:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise OSError(f"no free port between {_FIRST_PORT} and {_LAST_PORT} on {host}")


def guarded(command: Sequence[str], *, death_signal: int = signal.SIGKILL) -> list[str]:
    """The command that becomes ``command`` and gets ``death_signal`` when this process dies, however it dies."""
    return [sys.executable, "-I", "-S", str(GUARD), "exec", str(os.getpid()), str(int(death_signal)), *command]


def exit_code(returncode: int) -> int:
    """A shell's exit code of a ``Popen.returncode``: 128 + the signal's number for a process that a signal ended."""
    return 128 - returncode if returncode < 0 else returncode


def how_it_ended(returncode: int) -> str:
    """``exited with 3`` or ``was ended by SIGKILL``."""
    if returncode >= 0:
        return f"exited with {returncode}"
    try:
        return f"was ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was ended by signal {-returncode}"


def _catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal, by the kernel's word."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


class Child:
    """A started process. ``output``: its standard output and error, or None where they go where this process's go."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], *, capture: bool, cwd: str | None = None
    ) -> None:
        self._process = subprocess.Popen(
            guarded(command),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if capture else None,
            stderr=subprocess.STDOUT if capture else None,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.output: IO[bytes] | None = self._process.stdout
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self.partial = b""
        self.closed = self.output is None
        if self.output is not None:
            os.set_blocking(self.output.fileno(), False)

    @property
    def returncode(self) -> int | None:
        """None while it runs, else as ``Popen.returncode``: negative for a signal."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait for its end; its returncode."""
        return self._process.wait()

    def read(self) -> list[str]:
        """Take what it has written since the last call: whole lines, without waiting. The last ones are kept."""
        fresh: list[str] = []
        while chunk := self._chunk():
            *whole, self.partial = (self.partial + chunk).split(b"\n")
            fresh += [line[:LINE_BYTES].decode(errors="replace") for line in whole]
        self._lines.extend(fresh)
        return fresh

    def _chunk(self) -> bytes:
        """What is there to read now; ``closed`` is set once there will be no more."""
        if self.output is None or self.closed:
            return b""
        chunk = self.output.read(65_536)
        self.closed = chunk == b""
        return chunk or b""

    def tail(self) -> list[str]:
        """Its last lines, an unfinished one included."""
        self.read()
        last = self.partial[:LINE_BYTES].decode(errors="replace")
        return [*self._lines, last] if last.strip() else list(self._lines)

    def send(self, number: int) -> None:
        """Send a signal to the process itself, not to its children: they are its own business."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def ask_for_stacks(self) -> bool:
        """Have the process write the stacks of its threads, if it can (ours can), even one that is stopped; whether it
        was asked. It needs a moment."""
        if self.returncode is not None or not _catches(self.pid, STACKS_SIGNAL):
            return False
        self.send(STACKS_SIGNAL)
        self.send(signal.SIGCONT)
        return True

    def kill(self) -> None:
        """Kill the process and its children, stopped or not, without waiting."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill the process and whatever it left behind in its process group, and wait for it."""
        self.kill()
        self._process.wait()
        if self.output is not None:
            self.output.close()


class Reaper:
    """A process that kills the given process groups if this one dies without saying goodbye."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), "reap"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def watch(self, group: int) -> None:
        """Add a process group."""
        self._say(str(group))

    def close(self) -> None:
        """Everything was ended in good order: nothing is left to reap."""
        self._say("done")
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{word}\n")
            self._process.stdin.flush()
