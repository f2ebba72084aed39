"""A rank's state copied into memory that was allocated beforehand, already laid out as safetensors files.

Fresh buffers cost several times the copy itself (page faults); these are made once and touched once.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import groupby

import torch

from deemo_dist.training.checkpoint.buffers import MakeBuffer, floats, let_go
from deemo_dist.training.checkpoint.layout import KINDS, Fragment

PART_BYTES = 2**28
"""Small enough that a slow store writes one well within the watchdog's time: each is told as progress."""

MAPPED_PART_BYTES = 2**26
"""Of a file that lies on a disk: so much of it is in memory while it is written to the store."""


@contextmanager
def always(write: bool) -> Iterator[None]:
    """In memory at any time."""
    yield


@dataclass(frozen=True, kw_only=True)
class LocalFragment:
    """A fragment that this rank owns. ``read(kind)`` gives its float32 tensor [numel], a view or a copy;
    ``write(kind, tensor)`` sets it. Both only within ``opened(write)``, which fragments share that are brought into
    memory together."""

    fragment: Fragment
    read: Callable[[str], torch.Tensor]
    write: Callable[[str, torch.Tensor], None]
    opened: Callable[[bool], AbstractContextManager[None]] = always


def in_turn(locals_: Iterable[LocalFragment], *, write: bool) -> Iterator[LocalFragment]:
    """The fragments, each while it is in memory."""
    for opened, together in groupby(locals_, key=lambda local: local.opened):
        with opened(write):
            yield from together


class Part:
    """One safetensors file in memory: ``data`` is the whole file, ``fragments`` what is in it."""

    def __init__(self, locals_: Sequence[LocalFragment], make: MakeBuffer = bytearray) -> None:
        self.locals = tuple(locals_)
        header, size = _header([local.fragment for local in locals_])
        self.data = make(len(header) + size)
        self.data[: len(header)] = header
        flat = floats(self.data, len(header))
        flat.zero_()
        counts = [local.fragment.numel for local in self.locals for _ in KINDS]
        self.views = flat.split(counts)

    @property
    def fragments(self) -> tuple[Fragment, ...]:
        """The fragments in this file, in order."""
        return tuple(local.fragment for local in self.locals)

    def fill(self) -> None:
        """Copy the live tensors in."""
        views = iter(self.views)
        for local in in_turn(self.locals, write=False):
            for kind in KINDS:
                next(views).copy_(local.read(kind))
            let_go(self.data)


class Snapshot:
    """All parts of this rank, each in a buffer that ``make`` gives; empty fragments (more ranks than elements) are left
    out. ``nbytes``: their size."""

    def __init__(
        self, locals_: Sequence[LocalFragment], *, part_bytes: int = PART_BYTES, make: MakeBuffer = bytearray
    ) -> None:
        limit = part_bytes if make is bytearray else min(part_bytes, MAPPED_PART_BYTES)
        self.parts = [Part(group, make) for group in _packed(locals_, limit)]
        self.nbytes = sum(len(part.data) for part in self.parts)

    def fill(self) -> None:
        """Copy the live state in (main thread, between steps)."""
        for part in self.parts:
            part.fill()


def _packed(locals_: Sequence[LocalFragment], limit: int) -> list[list[LocalFragment]]:
    """Cut the fragments, in their order, into files of at most ``limit`` bytes, one fragment at least."""
    parts: list[list[LocalFragment]] = []
    filled = 0
    for local in locals_:
        size = local.fragment.numel * 4 * len(KINDS)
        if not size:
            continue
        if not parts or filled + size > limit:
            parts.append([])
            filled = 0
        parts[-1].append(local)
        filled += size
    return parts


def _header(fragments: Sequence[Fragment]) -> tuple[bytes, int]:
    """The safetensors header (length, JSON, padding to 8 bytes) of the fragments' tensors, and the body's size."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for fragment in fragments:
        for kind in KINDS:
            end = position + fragment.numel * 4
            entries[f"{fragment.name}/{kind}"] = {
                "dtype": "F32",
                "shape": [fragment.numel],
                "data_offsets": [position, end],
            }
            position = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, position
