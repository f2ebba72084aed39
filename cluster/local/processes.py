"""Starting and ending the servers of a local cluster: by process id, and never outliving the process that asked."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deemo_dist.errors import LaunchError
from deemo_dist.launch.process import guarded


def free_ports(count: int, host: str = "127.0.0.1", *, first: int = 20_000, last: int = 32_000) -> list[int]:
    """``count`` neighbouring ports that are free on ``host`` now. Ray's own workers use 10002-19999: stay above."""
    starts = random.SystemRandom().sample(range(first, last - count), 200)
    for start in starts:
        if all(_is_free(host, port) for port in range(start, start + count)):
            return list(range(start, start + count))
    raise LaunchError(f"no {count} neighbouring free ports on {host} between {first} and {last}")


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def need(program: str, *, hint: str) -> str:
    """The path of a program, ``/usr/sbin`` looked at too. Raises ``LaunchError`` with ``hint``."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise LaunchError(f"there is no {program} on this machine", hint=hint)
    return found


def start(
    command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, death_signal: int = signal.SIGKILL
) -> subprocess.Popen[bytes]:
    """Start a server in its own session, writing to ``log``; the kernel signals it when this process dies."""
    with log.open("ab") as output:
        return subprocess.Popen(
            guarded(command, death_signal=death_signal),
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_for(ready: Callable[[], bool], *, seconds: float, what: str, log: Path | None = None) -> None:
    """Ask ``ready`` until it says yes. Raises ``LaunchError`` with the end of ``log`` after ``seconds``."""
    limit = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > limit:
            said = log.read_text(errors="replace").splitlines()[-3:] if log is not None and log.exists() else []
            raise LaunchError(f"{what} did not come up within {seconds:g} s: {' / '.join(said) or 'it said nothing'}")
        time.sleep(0.2)


def descendants(pid: int) -> list[int]:
    """The children of a process, theirs, and so on, as the kernel knows them now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text()
                children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def end(process: subprocess.Popen[bytes], *, seconds: float = 10.0, family: bool = True) -> None:
    """End a server: SIGTERM, then SIGKILL; with ``family`` also the processes that descend from it."""
    tree = descendants(process.pid) if family else []
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    for pid in [process.pid, *tree]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
