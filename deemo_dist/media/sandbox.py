"""The sandbox: a spawned child process that decodes raw clips under resource limits, without network or write access.

A clip that kills the child is tried once more, alone, in a fresh child; only if that one dies too is the clip rejected.
The clock rejects nothing: a child that does not answer is given up, which is the clip's fault only if the child had its
processor time.
"""

import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from deemo_dist.errors import DeemoError, MediaError, StalledError
from deemo_dist.media.container import check_pixels
from deemo_dist.media.decode import Collector, Tail
from deemo_dist.media.process import Child, ChildDiedError, ChildSilentError
from deemo_dist.media.source import KEEP_BYTES, Item, SandboxClip
from deemo_dist.media.tape import KEEP_SOUND
from deemo_dist.media.types import Bounds, DecodedClip, VideoInfo, info_from_plain

SOUND_BYTES = 1 << 22
GRACE_SECONDS = 30.0
"""That a child may keep its parent waiting, beyond twice its processor time."""

STALLED = (
    "nothing is known of the clip: this machine is overloaded or was suspended; lower execution.workers, and leave a "
    "clip with which it happens on an idle machine out of the manifest"
)
NO_START = "nothing is wrong with the clip: look at this machine's memory, load and limits"


class Sandbox:
    """A persistent child that decodes one clip at a time. A context manager; started at the first clip.

    The child gets no environment but paths (so no secrets) and each clip as an open file, gives up network, opening
    files, writing and core dumps (see ``confine``), and is bound in memory and processor time by each clip's
    ``Bounds``. ``command`` replaces the child's command line (for tests). ``cpu_seconds``: processor time that its
    children have spent on clips, by their own account.
    """

    def __init__(self, *, command: tuple[str, ...] | None = None) -> None:
        self._command = command or (sys.executable, "-m", "deemo_dist.media.child")
        self._child: Child | None = None
        self.cpu_seconds = 0.0

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

    def close(self) -> int | None:
        """End the child; how it ended, None if none ran."""
        child, self._child = self._child, None
        return child.kill() if child is not None else None

    def open(
        self, path: Path, bounds: Bounds, *, keep_bytes: int = KEEP_BYTES, keep_sound: int = KEEP_SOUND
    ) -> SandboxClip:
        """A clip to be streamed, as often as wanted, while the file at ``path`` is there: decoded anew at each pass,
        unless its frames take at most ``keep_bytes`` (its sound: ``keep_sound``). One pass at a time: beginning another
        ends the one under way.

        Raises ``MediaError`` with a reason: missing, empty, not_media, no_video, corrupt, too_long, too_large,
        bad_audio, timed_out (processor time), crashed (two died of it); so does each pass. No fault of the clip: a
        child that does not start (``DeemoError``), two that do not answer in time and had not their processor time
        either (``StalledError``).
        """
        return SandboxClip(
            lambda picture, sound: self._stream(path, bounds, picture=picture, sound=sound),
            self.probe(path, bounds),
            bounds,
            keep_bytes=keep_bytes,
            keep_sound=keep_sound,
        )

    def decode(self, path: Path, bounds: Bounds) -> DecodedClip:
        """Decode the whole clip at ``path`` into memory, within the memory bound; raises as ``open``."""
        collector, fps = Collector(bounds), Fraction(25)
        for item in self._stream(path, bounds, picture=True, sound=True):
            if isinstance(item, Tail):
                fps = item.fps
            elif isinstance(item, tuple):
                collector.frame(item[1], item[0])
            else:
                collector.sound(item)
        return collector.clip(fps)

    def probe(self, path: Path, bounds: Bounds) -> VideoInfo:
        """A raw clip's facts by its headers and packets, held against the bounds; raises as ``open``."""
        for kind, _, content in self._messages({"verb": "probe"}, path, bounds):
            if kind == b"E":
                return info_from_plain(json.loads(content.tobytes())["info"])
        raise MediaError("the decoder said nothing", reason="crashed")

    def _stream(self, path: Path, bounds: Bounds, *, picture: bool, sound: bool) -> Iterator[Item]:
        """One pass: frames with their times, blocks of sound, and what is known at the end, held against the bounds
        once more, for the child is not trusted."""
        height = width = frames = samples = 0
        request = {"verb": "decode", "picture": picture, "sound": sound}
        for kind, when, content in self._messages(request, path, bounds):
            if kind == b"B":
                size = json.loads(content.tobytes())
                height, width = int(size["height"]), int(size["width"])
                check_pixels(height * width, bounds)
            elif kind == b"F" and frames < bounds.max_frames and len(content) == 3 * height * width > 0:
                frames += 1
                yield when, content.reshape(height, width, 3)
            elif kind == b"S" and len(content) % 4 == 0:
                samples += len(content)
                yield content.view(np.float32)
            elif kind == b"E":
                said = json.loads(content.tobytes())
                yield Tail(fps=Fraction(*said["fps"]), has_sound=bool(said["has_sound"]))
            else:
                raise MediaError("the decoder said something unknown", reason="crashed")

    def _messages(
        self, request: dict[str, Any], path: Path, bounds: Bounds
    ) -> Iterator[tuple[bytes, float, np.ndarray]]:
        """The child's answer, and a fresh child's if it dies: what was already handed on is then left out."""
        handed, ready, death = 0, True, ChildDiedError()
        for fresh in (False, True):
            if fresh:
                self.close()
            child: Child | None = None
            try:
                child = self._ask(request, path, bounds)
                for number, message in enumerate(_answer(child, bounds)):
                    if number >= handed:
                        handed = number + 1
                        self._count(message)
                        yield message
                return
            except ChildDiedError as error:
                ready, death = self._child is not None and self._child.ready, error
                if self.close() == -signal.SIGXCPU:
                    said = f"more than {bounds.cpu_seconds:.0f} s of processor time"
                    raise MediaError(said, reason="timed_out") from None
            finally:
                if child is not None and child is self._child and not child.idle:
                    self.close()
        if not ready:
            raise DeemoError("the process that decodes does not start", hint=NO_START)
        if isinstance(death, ChildSilentError):
            raise _given_up(death.cpu_seconds, bounds)
        raise MediaError("decoding it killed two processes", reason="crashed")

    def _ask(self, request: dict[str, Any], path: Path, bounds: Bounds) -> Child:
        if self._child is None or self._child.process.poll() is not None or not self._child.idle:
            self.close()
            self._child = self._started()
        self._child.ask({**request, "bounds": asdict(bounds)}, path, patience=2 * bounds.cpu_seconds + GRACE_SECONDS)
        return self._child

    def _started(self) -> Child:
        try:
            return Child(self._command)
        except OSError as error:
            raise DeemoError(f"the process that decodes does not start ({error.strerror})", hint=NO_START) from None

    def _count(self, message: tuple[bytes, float, np.ndarray]) -> None:
        if message[0] == b"E":
            self.cpu_seconds += float(json.loads(message[2].tobytes())["cpu_seconds"])


def _given_up(spent: float, bounds: Bounds) -> DeemoError:
    """Of a child that does not answer in time: the clip's fault where the child had its processor time."""
    if spent >= bounds.cpu_seconds:
        return MediaError(f"more than {bounds.cpu_seconds:.0f} s of processor time", reason="timed_out")
    said = f"decoding got {spent:.1f} of {bounds.cpu_seconds:.0f} s of processor time in more than twice as long, twice"
    return StalledError(said, hint=STALLED)


def _answer(child: Child, bounds: Bounds) -> Iterator[tuple[bytes, float, np.ndarray]]:
    """Messages up to the closing one."""
    most = max(3 * bounds.max_pixels, SOUND_BYTES)
    while True:
        message = child.message(most)
        yield message
        if message[0] == b"E":
            return
