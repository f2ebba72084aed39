"""Looking for keys in every byte that is kept under a prefix: the proof of an erasure.

Parquet is compressed, so its columns are read; everything else is searched as it stands. A key is 32 hex characters; a
page or a text shows the first 8 as well, and is searched for these where they stand alone.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from deemo_dist.errors import NotFoundError
from deemo_dist.records.parquet import parquet_table
from deemo_dist.storage import Store, Stored

KEY_HEX = 32
SHORT_HEX = 8
PIECE = 64 * 2**20
AT_ONCE = 8
TEXTS = (".html", ".htm", ".svg", ".txt", ".md", ".csv", ".log")
_RUN = re.compile(rb"[0-9a-f]{32,}")
_SHORT = re.compile(rb"(?<![0-9a-zA-Z])[0-9a-f]{8}(?![0-9a-zA-Z])")
_MAGIC = b"PAR1"
STRIDE = 8
_DIGITS = np.isin(np.arange(256), np.frombuffer(b"0123456789abcdef", np.uint8))


@dataclass(frozen=True)
class Sought:
    """Keys to look for, 32 hex characters each."""

    keys: frozenset[bytes]

    @classmethod
    def of(cls, keys: Iterable[str]) -> "Sought":
        """Look for these."""
        return cls(frozenset(key.encode() for key in keys))

    @property
    def short(self) -> frozenset[bytes]:
        """What pages show of them."""
        return frozenset(key[:SHORT_HEX] for key in self.keys)

    def within(self, data: bytes, name: str) -> bool:
        """Whether ``data``, called ``name``, holds one of the keys. A Parquet file that cannot be read counts as if."""
        if self._raw(data) or (name.endswith(TEXTS) and not self.short.isdisjoint(_SHORT.findall(data))):
            return True
        if data[: len(_MAGIC)] != _MAGIC:
            return False
        try:
            return any(self._raw(piece) for piece in _strings(parquet_table(data)))
        except (pa.ArrowException, OSError):
            return True

    def _raw(self, data: bytes) -> bool:
        """Whether a key stands anywhere, inside longer runs of hexadecimal digits too."""
        for start, stop in _likely(data):
            for found in _RUN.finditer(data, start, stop):
                run = found.group()
                if any(run[at : at + KEY_HEX] in self.keys for at in range(len(run) - KEY_HEX + 1)):
                    return True
        return False


def _likely(data: bytes) -> Iterator[tuple[int, int]]:
    """Spans outside of which no 32 hexadecimal digits stand together: of these, four lie a stride apart."""
    digits = _DIGITS[np.frombuffer(data, np.uint8)[::STRIDE]]
    together = np.flatnonzero(digits[:-3] & digits[1:-2] & digits[2:-1] & digits[3:])
    if not len(together):
        return
    breaks = np.flatnonzero(np.diff(together) > 1)
    firsts, lasts = together[np.r_[0, breaks + 1]], together[np.r_[breaks, len(together) - 1]]
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        yield max(0, (first - 1) * STRIDE), (last + 5) * STRIDE


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What was read: how many ``objects`` (older versions included) and ``bytes``, and which ``found`` hold a key."""

    objects: int
    bytes: int
    found: tuple[Stored, ...]


def scan(store: Store, sought: Sought, prefix: str = "", *, on_object: Callable[[], object] = lambda: None) -> Scan:
    """Search everything that ``store`` keeps below ``prefix``."""
    kept = [stored for stored in store.history(prefix) if not stored.marker]
    found: list[Stored] = []
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="deemo-scan") as pool:
        for stored, holds in zip(kept, pool.map(lambda one: holds_key(store, one, sought), kept), strict=True):
            if holds:
                found.append(stored)
            on_object()
    return Scan(objects=len(kept), bytes=sum(stored.size for stored in kept), found=tuple(found))


def holds_key(store: Store, stored: Stored, sought: Sought) -> bool:
    """Whether one object, or one version of it, holds a key; one that went away meanwhile does not. What is larger than
    a piece is read in pieces, whatever it is, but for Parquet."""
    try:
        if stored.size <= PIECE or _is_parquet(store, stored):
            return sought.within(store.read(stored), stored.key)
        return any(sought.within(piece, stored.key) for piece in _pieces(store, stored))
    except NotFoundError:
        return False


def file_holds_key(path: Path, sought: Sought) -> bool:
    """Whether a file of this machine holds a key; a large one is read in pieces."""
    if path.suffix == ".parquet" or path.stat().st_size <= PIECE:
        return sought.within(path.read_bytes(), path.name)
    with path.open("rb") as file:
        for start in range(0, path.stat().st_size, PIECE):
            file.seek(start)
            if sought.within(file.read(PIECE + KEY_HEX), path.name):
                return True
    return False


def _is_parquet(store: Store, stored: Stored) -> bool:
    return stored.key.endswith(".parquet") or store.read_range(stored, 0, len(_MAGIC)) == _MAGIC


def _pieces(store: Store, stored: Stored) -> Iterator[bytes]:
    """A large object in pieces that overlap by a key's length."""
    for start in range(0, stored.size, PIECE):
        yield store.read_range(stored, start, min(PIECE + KEY_HEX, stored.size - start))


def _strings(table: pa.Table) -> Iterator[bytes]:
    """The bytes of all texts of a table, nested ones too."""
    pending: list[pa.Array] = [chunk for column in table.columns for chunk in column.chunks]
    while pending:
        array = pending.pop()
        kind = array.type
        if pa.types.is_dictionary(kind):
            pending.append(array.dictionary)
        elif pa.types.is_struct(kind):
            pending += [array.field(number) for number in range(kind.num_fields)]
        elif pa.types.is_map(kind):
            pending += [array.keys, array.items]
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            pending.append(array.values)
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
            yield (array.buffers()[2] or b"") and array.buffers()[2].to_pybytes()
    for name, value in (table.schema.metadata or {}).items():
        yield name + b"\n" + value
