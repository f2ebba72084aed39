"""A store in memory that keeps versions as a bucket does: what is deleted or written over stays, behind a marker."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deemo_dist.errors import AlreadyExistsError, NotFoundError
from deemo_dist.storage import Store, Stored


@dataclass
class Kept:
    """A version: what is said of it, and its bytes."""

    stored: Stored
    data: bytes = b""


class VersionedStore(Store):
    """Objects with all their versions. ``now``: the store's clock, which only a test moves; ``histories``: what it was
    asked to tell the history of."""

    def __init__(self) -> None:
        self.root = "s3://memory"
        self.now = 1_000_000.0
        self.kept: list[Kept] = []
        self.histories: list[str] = []
        self._numbers = itertools.count()

    def uri(self, key: str) -> str:
        return f"{self.root}/{key}"

    def get(self, key: str) -> bytes:
        return self._current(key).data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self.get(key)[start : start + length]

    def put(self, key: str, data: bytes) -> None:
        self._add(key, data)

    def put_new(self, key: str, data: bytes) -> None:
        if self.exists(key):
            raise AlreadyExistsError(key)
        self._add(key, data)

    def put_chunks(self, key: str, chunks: Sequence[bytes]) -> None:
        self._add(key, b"".join(chunks))

    def exists(self, key: str) -> bool:
        return any(stored.key == key for stored in self.entries(key.rpartition("/")[0]))

    def size(self, key: str) -> int:
        return self.stat(key).size

    def list(self, prefix: str) -> list[str]:
        return [stored.key for stored in self.entries(prefix)]

    def delete(self, key: str) -> None:
        self._add(key, b"", marker=True)

    def entries(self, prefix: str) -> Sequence[Stored]:
        return [stored for stored in self._below(prefix) if stored.current and not stored.marker]

    def stat(self, key: str) -> Stored:
        return self._current(key).stored

    def history(self, prefix: str) -> Sequence[Stored]:
        self.histories.append(prefix)
        return self._below(prefix)

    def read(self, stored: Stored) -> bytes:
        return next(kept.data for kept in self.kept if kept.stored.version == stored.version)

    def read_range(self, stored: Stored, start: int, length: int) -> bytes:
        return self.read(stored)[start : start + length]

    def remove(self, stored: Stored) -> None:
        self.kept = [kept for kept in self.kept if kept.stored.version != stored.version]
        for kept in [kept for kept in self.kept if kept.stored.key == stored.key][-1:]:
            kept.stored = replace(kept.stored, current=True)

    def copy(self, source: str, target: str) -> None:
        self._add(target, self.get(source))

    def clock(self) -> float:
        return self.now

    def local_path(self, key: str) -> Path | None:
        return None

    def upload(self, path: Path, key: str) -> None:
        self._add(key, path.read_bytes())

    def download(self, key: str, path: Path) -> None:
        path.write_bytes(self.get(key))

    def _add(self, key: str, data: bytes, *, marker: bool = False) -> None:
        for kept in self.kept:
            if kept.stored.key == key:
                kept.stored = replace(kept.stored, current=False)
        version = str(next(self._numbers))
        self.kept.append(Kept(Stored(key=key, size=len(data), modified=self.now, version=version, marker=marker), data))

    def _below(self, prefix: str) -> Sequence[Stored]:
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        return sorted(
            (kept.stored for kept in self.kept if kept.stored.key.startswith(folder)),
            key=lambda stored: (stored.key, int(stored.version or 0)),
        )

    def _current(self, key: str) -> Kept:
        for kept in self.kept:
            if kept.stored.key == key and kept.stored.current and not kept.stored.marker:
                return kept
        raise NotFoundError(key)
