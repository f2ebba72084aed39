"""Sound that is read in parts: held in memory while it is short, decoded anew where it is long."""

import hashlib
import mmap
import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from deemo_dist.errors import MediaError
from deemo_dist.media.soundtrack import SOUND_RATE

KEEP_SOUND = 16 * 2**20  # bytes of float32: 4.4 minutes
BEHIND = 40 * SOUND_RATE  # samples that are kept behind the place last read: what is read twice lies nearer

Blocks = Iterator[np.ndarray]


class Sound(Protocol):
    """Mono samples that are read in parts, ascending at best: an array float32 [N] in [-1, 1], or a :class:`Tape`."""

    def __len__(self) -> int:
        """How many samples there are."""
        ...

    def __getitem__(self, part: slice, /) -> np.ndarray:
        """The samples [start, stop) as float32; what lies beyond the ends is left out."""
        ...


class Tape:
    """A :class:`Sound` of ``length`` samples that comes as blocks (float32, in their order), of which a minute or two
    is held. ``begin`` makes them from the start; going back further than what is held begins again."""

    def __init__(self, begin: Callable[[], Blocks], length: int) -> None:
        self._begin, self._length = begin, length
        self._blocks: Blocks | None = None
        self._held: deque[np.ndarray] = deque()
        self._from = self._upto = 0

    @classmethod
    def once(cls, blocks: Blocks, length: int) -> "Tape":
        """A tape of blocks that come only once: going back too far is an error (``LookupError``)."""
        passes = [blocks]
        return cls(passes.pop, length)

    def __len__(self) -> int:
        """How many samples there are."""
        return self._length

    def __getitem__(self, part: slice, /) -> np.ndarray:
        """The samples [start, stop): float32, the caller's own. Raises ``MediaError`` (unstable) where the blocks end
        before ``length``, and what making them raises."""
        start, stop, step = part.indices(self._length)
        if step != 1:
            raise ValueError("a tape is read in one direction, sample by sample")
        if start >= stop:
            return np.zeros(0, np.float32)
        if self._blocks is None or start < self._from:
            self._rewind()
        while self._upto < stop:
            self._take()
            self._forget(start - BEHIND)
        held = np.concatenate(self._held)
        return held[start - self._from : stop - self._from]

    def _rewind(self) -> None:
        self._blocks = None  # a pass that is left must have ended before another begins
        self._held.clear()
        self._from = self._upto = 0
        self._blocks = self._begin()

    def _take(self) -> None:
        block = next(self._blocks, None) if self._blocks is not None else None
        if block is None:
            raise MediaError("the sound ends before its end", reason="unstable")
        self._held.append(block)
        self._upto += len(block)

    def _forget(self, before: int) -> None:
        """Let go of whole blocks that end by the place ``before``; the last one stays."""
        while len(self._held) > 1 and self._from + len(self._held[0]) <= before:
            self._from += len(self._held.popleft())


class Spool:
    """The sound of a first pass, held in anonymous memory of the kernel (no process has it until it is read) while it
    takes at most ``keep_bytes``; a digest of each block stays, so that a later pass can be held against it."""

    def __init__(self, keep_bytes: int) -> None:
        self._file = os.fdopen(os.memfd_create("sound"), "w+b")
        self._keep_bytes = keep_bytes
        self._digests: list[bytes] = []
        self.samples = 0

    @property
    def seconds(self) -> float:
        """How much has come."""
        return self.samples / SOUND_RATE

    @property
    def blocks(self) -> int:
        """How many blocks have come: of a second each, but the last, from a decoder that is sound itself."""
        return len(self._digests)

    def add(self, samples: np.ndarray) -> None:
        """Take the next block, float32 [N]."""
        self._digests.append(_digest(samples))
        self.samples += len(samples)
        if self._is_held:
            self._file.write(samples.astype(np.float32, copy=False).tobytes())
        else:
            self._file.close()

    @property
    def _is_held(self) -> bool:
        return 4 * self.samples <= self._keep_bytes

    def sound(self, again: Callable[[], Blocks]) -> Sound | None:
        """The sound: float32 [N], mapped copy-on-write, or a tape of the blocks that ``again`` makes; None where
        nothing came."""
        if not self.samples:
            return None
        if not self._is_held:
            return Tape(lambda: self._checked(again()), self.samples)
        self._file.flush()
        return np.frombuffer(mmap.mmap(self._file.fileno(), 4 * self.samples, access=mmap.ACCESS_COPY), np.float32)

    def _checked(self, blocks: Blocks) -> Blocks:
        """``blocks`` as long as they are those of the first pass; else ``MediaError`` (unstable), for what was heard
        and is to be silent lies elsewhere then."""
        number = 0
        for block in blocks:
            if number >= len(self._digests) or _digest(block) != self._digests[number]:
                raise MediaError("it decodes to other sound the second time", reason="unstable")
            number += 1
            yield block
        if number != len(self._digests):
            raise MediaError("it decodes to less sound the second time", reason="unstable")


def _digest(block: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(block, np.float32).data, digest_size=16).digest()
