"""The sandbox: a spawned child process that decodes raw clips under resource limits.

A clip that kills the child is tried once more, alone, in a fresh child; only if that one dies too is the clip rejected.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from deemo_dist.errors import MediaError
from deemo_dist.media.decode import check_bytes, check_pixels
from deemo_dist.media.types import Bounds, DecodedClip, VideoInfo, info_from_plain
from deemo_dist.media.wire import HEADER, SMALL

KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
START_SECONDS = 120.0


class _ChildDiedError(Exception):
    """The child ended in the middle of a clip."""


class Sandbox:
    """A persistent child that decodes one clip at a time. A context manager; started at the first clip.

    The child gets no environment but paths (so no secrets), cannot write files or dump core, and is bound in memory and
    processor time by each clip's ``Bounds``. ``command`` replaces the child's command line (for tests).
    """

    def __init__(self, *, command: tuple[str, ...] | None = None) -> None:
        self._command = command or (sys.executable, "-m", "deemo_dist.media.child")
        self._child: _Child | None = None

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Sandbox belongs to the process that made it")

    @property
    def pid(self) -> int | None:
        """The child's process id, None when none runs."""
        return self._child.process.pid if self._child is not None else None

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def decode(self, path: Path, bounds: Bounds) -> DecodedClip:
        """Decode the clip at ``path``.

        Raises ``MediaError`` with a reason: missing, empty, not_media, no_video, corrupt, too_long, too_large,
        timed_out (processor or wall time), crashed (two children died of it).
        """
        return self._ask("decode", path, bounds, decode_answer)

    def probe(self, path: Path, bounds: Bounds) -> VideoInfo:
        """A raw clip's facts by its headers; raises as ``decode``."""
        return self._ask("probe", path, bounds, lambda child, _: info_from_plain(child.finish({})))

    def _ask(self, verb: str, path: Path, bounds: Bounds, answer: Any) -> Any:
        """Ask the child, and a fresh one if it dies."""
        for fresh in (False, True):
            if fresh:
                self.close()
            try:
                return self._ask_once(verb, path, bounds, answer)
            except _ChildDiedError:
                code = self._child.process.wait() if self._child is not None else 0
                self.close()
                if code == -signal.SIGXCPU:
                    raise MediaError(
                        f"more than {bounds.cpu_seconds:.0f} s of processor time", reason="timed_out"
                    ) from None
        raise MediaError("decoding it killed two processes", reason="crashed")

    def _ask_once(self, verb: str, path: Path, bounds: Bounds, answer: Any) -> Any:
        if self._child is None or self._child.process.poll() is not None:
            self.close()
            self._child = _Child(self._command)
        child = self._child
        child.deadline = time.monotonic() + 2 * bounds.cpu_seconds + 30
        child.ask({"verb": verb, "path": str(path.absolute()), "bounds": asdict(bounds)})
        try:
            return answer(child, bounds)
        except _ChildDiedError:
            raise
        except MediaError as error:
            if error.reason == "timed_out" or not child.idle:
                self.close()
            raise


class _Child:
    """A running child and its pipes."""

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
        self.poll = select.poll()
        self.poll.register(self.out, select.POLLIN)
        self.deadline = time.monotonic() + START_SECONDS
        self.idle = True
        self.ready = False

    def ask(self, request: dict[str, Any]) -> None:
        """Send a request, once the child is ready."""
        if not self.ready:
            self.ready = self.message(SMALL)[0] == b"R"
        assert self.process.stdin is not None
        self.idle = False
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise _ChildDiedError from None

    def message(self, most: int) -> tuple[bytes, float, bytearray]:
        """The next message: its kind, time and content of at most ``most`` bytes; raises what an ``X`` says."""
        kind, when, length = HEADER.unpack(self._read(HEADER.size))
        if length > (most if kind in (b"F", b"S") else SMALL):
            raise MediaError("the decoder sent more than allowed", reason="too_large")
        content = self._read(length)
        if kind == b"X":
            self.idle = True
            said = json.loads(content)
            raise MediaError(str(said["message"]), reason=str(said["reason"]))
        return kind, when, content

    def finish(self, default: dict[str, Any]) -> dict[str, Any]:
        """The closing message of an answer that has no frames."""
        _, _, content = self.message(SMALL)
        self.idle = True
        return {**default, **json.loads(content)}

    def _read(self, count: int) -> bytearray:
        """Exactly ``count`` bytes; raises when the child dies or the time is up."""
        data = bytearray()
        while len(data) < count:
            left = self.deadline - time.monotonic()
            if left <= 0 or not self.poll.poll(left * 1000):
                raise MediaError("decoding took too long", reason="timed_out")
            part = os.read(self.out, min(count - len(data), 1 << 20))
            if not part:
                raise _ChildDiedError
            data += part
        return data

    def kill(self) -> None:
        """End the process and its pipes."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


def decode_answer(child: _Child, bounds: Bounds) -> DecodedClip:
    """Collect a decoded clip from the child's messages, held against the bounds once more."""
    data, times, sound = bytearray(), list[float](), None
    height = width = 0
    while True:
        kind, when, content = child.message(max(3 * height * width, bounds.memory_bytes))
        if kind == b"B":
            size = json.loads(content)
            height, width = int(size["height"]), int(size["width"])
            check_pixels(height * width, bounds)
        elif kind == b"F" and len(content) == 3 * height * width:
            check_bytes(len(data) + len(content), bounds)
            data += content
            times.append(when)
        elif kind == b"S":
            sound = np.frombuffer(content, np.float32)
        elif kind == b"E":
            child.idle = True
            tail = json.loads(content)
            break
        else:
            raise MediaError("the decoder said something unknown", reason="crashed")
    return DecodedClip(
        frames=np.frombuffer(data, np.uint8).reshape(len(times), height, width, 3),
        frame_times=np.array(times, np.float64),
        fps=float(tail["fps"]),
        waveform=sound,
        sample_rate=int(tail["sample_rate"]),
    )
