"""What waits for MLflow, on the run's storage: carried there, taken from there by another node, removed once sent.

Segments lie there in pieces, ``{segment}.p{offset}.{stream}.jsonl``, beside the copies of files that they refer to,
``files/ID/NAME``. Law: whatever was written before a carry is taken by MLflow or lies in a piece.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from deemo_dist.console import logger
from deemo_dist.errors import NotFoundError
from deemo_dist.tracking.pieces import (
    PIECE_BYTES,
    Span,
    copies_in,
    is_known,
    lines_from,
    origin,
    piece_header,
    piece_name,
    read_note,
    write_note,
)
from deemo_dist.tracking.segment import STREAMS
from deemo_dist.tracking.spool import NOTE, Reader, is_legible, readers, sending, shrink

if TYPE_CHECKING:
    from deemo_dist.storage import Store, Stored

_LOCK = "carried"
T = TypeVar("T")


@dataclass(frozen=True)
class Depot:
    """The folder of a run's storage that keeps what waits: ``runs/{run}/spool``."""

    store: "Store"
    prefix: str

    @property
    def shown(self) -> str:
        """Where it is, for a person."""
        return self.store.uri(self.prefix)

    def key(self, name: str) -> str:
        """The key of a piece or of a copied file."""
        return f"{self.prefix}/{name}"

    def pieces(self, stream: str) -> "Iterator[tuple[str, Stored]]":
        """The pieces of a stream with their names, in the order in which they were written."""
        for stored in self.store.entries(self.prefix):
            name = stored.key.removeprefix(f"{self.prefix}/")
            place = origin(name)
            if place is not None and place[2] == stream:
                yield name, stored


class Carrier:
    """Brings pieces of one spool to a depot and back. One process of a machine at a time; the others do nothing.

    Every method raises what the store raises (``DeemoError``), and ``OSError`` where the spool cannot be used; it can
    be called again.
    """

    def __init__(self, spool: Path, depot: Depot) -> None:
        self.spool, self.depot = spool, depot

    def take(self, stream: str) -> int:
        """Bring here the pieces of which this spool holds less, with their files; how many."""
        with sending(self.spool, _LOCK) as mine:
            return sum([self._take(name, stored) for name, stored in self.depot.pieces(stream)]) if mine else 0

    def take_all(self) -> int:
        """As :meth:`take`, of every stream."""
        return sum(self.take(stream) for stream in STREAMS)

    def carry(self) -> int:
        """Bring to the depot what waits here and is not there yet; how many pieces were written."""
        with sending(self.spool, _LOCK) as mine:
            return sum([_unless_gone(self._carry, reader, 0) for reader in self._own()]) if mine else 0

    def settle(self) -> int:
        """Remove from the depot what was sent from here, and the segments that were kept for it; how many pieces."""
        with sending(self.spool, _LOCK) as mine:
            found = [reader for stream in STREAMS for reader in readers(self.spool, stream)] if mine else []
            removed = sum([self._settle(reader) for reader in found if reader.path.with_suffix(NOTE).exists()])
        for stream in STREAMS if removed else ():
            with sending(self.spool, stream) as mine:
                if mine:
                    shrink(self.spool, stream)
        return removed

    @property
    def has_more(self) -> bool:
        """Whether the depot holds something that is to be removed once it was sent from here."""
        return any(self.spool.glob(f"*{NOTE}"))

    def is_kept(self) -> bool:
        """Whether all that waits here is in the depot."""
        return all(_unless_gone(self._is_kept, reader, True) for reader in self._own())

    def _is_kept(self, reader: Reader) -> bool:
        if not is_legible(reader.header()):
            return True
        spans = read_note(reader.path)
        start, known = _next(spans, max(reader.offset, len(lines_from(reader.path, 0, 1))))
        there = all(any(start <= held < end for start, end in spans) for held in reader.held)
        return there and not lines_from(reader.path, max(start, known), 1)

    def _own(self) -> list[Reader]:
        """The segments that were written on this machine."""
        found = [reader for stream in STREAMS for reader in readers(self.spool, stream)]
        return [reader for reader in found if origin(reader.path.name) is None]

    def _take(self, name: str, stored: "Stored") -> int:
        segment, start, _ = origin(name) or (name, 0, "")
        if (self.spool / segment).exists():
            self._adopt(Reader(self.spool / segment), start, stored.size)
            return 0
        copy = self.spool / name
        held = copy.stat().st_size if copy.exists() else 0
        if held >= stored.size:
            write_note(copy, [(0, held)])
            return 0
        try:
            data = self.depot.store.get(stored.key)
        except NotFoundError:  # it was sent and removed since it was listed
            return 0
        if not is_known(data):
            logger.warning("tracking: %s is of a newer version or damaged; it stays there", stored.key)
            return 0
        self._bring_copies(data[held:])
        write_note(copy, [(0, len(data))])
        temporary = copy.with_suffix(f".{uuid.uuid4().hex[:8]}.tmp")
        temporary.write_bytes(data)
        temporary.replace(copy)
        return 1

    def _adopt(self, reader: Reader, start: int, size: int) -> None:
        """Note a piece of a segment of this machine: an earlier life was killed before it noted it itself."""
        header = reader.header()
        spans = read_note(reader.path)
        if header is not None and start not in {span[0] for span in spans}:
            write_note(reader.path, [*spans, (start, start + size - len(piece_header(header)))])

    def _bring_copies(self, lines: bytes) -> None:
        for path in copies_in(lines):
            if not (self.spool / path).exists():
                try:
                    self.depot.store.download(self.depot.key(path), self.spool / path)
                except NotFoundError:
                    logger.warning("tracking: the file '%s' is not in %s any more", Path(path).name, self.depot.shown)

    def _carry(self, reader: Reader) -> int:
        header = reader.header()
        if header is None or not is_legible(header):
            return 0
        head, pieces = piece_header(header), 0
        for held in sorted(reader.held):
            if not any(start <= held < end for start, end in read_note(reader.path)):
                pieces += self._put(reader, head, (held, held), 1)
        body = len(lines_from(reader.path, 0, 1))
        while self._put(reader, head, _next(read_note(reader.path), max(reader.offset, body)), PIECE_BYTES):
            pieces += 1
        return pieces

    def _put(self, reader: Reader, head: bytes, span: Span, limit: int) -> int:
        """Write the piece that begins where ``span`` does, when it holds more than ``span``: 1, else 0."""
        start, known = span
        lines = lines_from(reader.path, start, limit)
        if start + len(lines) <= known:
            return 0
        for path in copies_in(lines[known - start :]):
            with suppress(NotFoundError):  # it was sent meanwhile, and its copy removed
                self.depot.store.upload(self.spool / path, self.depot.key(path))
        self.depot.store.put(self.depot.key(piece_name(reader.path, start)), head + lines)
        others = [each for each in read_note(reader.path) if each[0] != start]
        write_note(reader.path, [*others, (start, start + len(lines))])
        return 1

    def _settle(self, reader: Reader) -> int:
        """Remove the pieces of a segment, or the one that it is, of which everything was sent."""
        mine = origin(reader.path.name) is None
        spans = read_note(reader.path) if mine else [(0, reader.path.stat().st_size)]
        left = []
        for start, end in spans:
            name = piece_name(reader.path, start) if mine else reader.path.name
            if not reader.is_taken(start, end) or (not mine and self._is_longer(name, end)):
                left.append((start, end))
                continue
            self.depot.store.delete(self.depot.key(name))
            for path in copies_in(lines_from(reader.path, start, end - start)):
                self.depot.store.delete(self.depot.key(path))
        if left != spans or not spans:
            write_note(reader.path, left)
        return len(spans) - len(left)

    def _is_longer(self, name: str, size: int) -> bool:
        """Whether a piece has grown since it was taken; the rest is taken then."""
        try:
            stored = self.depot.store.stat(self.depot.key(name))
        except NotFoundError:
            return False
        return stored.size > size and self._take(name, stored) > 0


def _unless_gone(work: Callable[[Reader], T], reader: Reader, otherwise: T) -> T:
    """What ``work`` says of a segment; ``otherwise`` where all of it was sent meanwhile, and it was removed."""
    try:
        return work(reader)
    except FileNotFoundError:
        return otherwise


def _next(spans: list[Span], offset: int) -> Span:
    """Where the next piece begins, and up to where it is there already: the last one grows until it is long enough."""
    last = spans[-1] if spans else (0, 0)
    start = max(offset, last[1])
    return last if spans and last[1] == start and last[1] - last[0] < PIECE_BYTES else (start, start)
