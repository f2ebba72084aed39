"""A bounded cache of shard blocks on the node's own disk, shared by all processes that name the same folder.

A shard's name holds its digest, so a block never changes: it is a file ``{shard}/{block}``, written beside and renamed.
A process killed at any moment leaves at most a temporary file, swept later. What a cache cannot promise (a disk that
lies, a file that somebody cut) the digests of the members do: a reader that finds one wrong calls :meth:`forget`.
"""

import contextlib
import fcntl
import os
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deemo_dist.config import StorageConfig
from deemo_dist.console import logger
from deemo_dist.dataset.door import Door
from deemo_dist.errors import ConfigError
from deemo_dist.storage import Store

SMALLEST_BLOCK = 2**16
LOCKS = 512
LOCK_SECONDS = 10.0
SWEEP_SECONDS = 1.0
STALE_SECONDS = 3600.0
KEEP = 7 / 8
"""The share of the bound that a sweep leaves."""

SWEEP = 1 / 64
"""The share of the bound after whose writing a process sweeps: eight processes together stay within the bound."""


def cached(store: Store, config: StorageConfig) -> "Store | CachedStore":
    """``store`` behind the cache that ``config`` asks for; as it is where its objects are files, or for no cache."""
    if config.cache_mb < 1 or store.local_path("shards") is not None:
        return store
    folder = Path(config.cache).resolve() / "shards"
    return CachedStore(store, folder, limit=config.cache_mb * 2**20, block=config.cache_block_kb * 2**10)


def remove_shards(config: StorageConfig, shards: Iterable[str]) -> int:
    """Remove all blocks of shards (file names) from this machine's cache; returns how many there were."""
    removed = 0
    for shard in shards:
        blocks = [path for path in (Path(config.cache) / "shards" / shard).glob("*") if path.is_file()]
        for block in blocks:
            block.unlink(missing_ok=True)
        removed += len(blocks)
    return removed


class CachedStore:
    """A store whose ranged reads go by a cache in ``folder`` of at most ``limit`` bytes; all else passes through.

    Reads are rounded to ``block`` bytes: the larger, the fewer requests a sample, and the more bytes are fetched that
    only other nodes use. Safe for threads and for any number of processes; picklable. A cache that cannot be written
    or swept (a full or read-only disk, blocks of somebody else's) is said once and written no more: the reads go on.
    Where the file system has no locks, a block may be fetched twice, and a sweep may remove more than is too much.
    """

    def __init__(self, store: Door, folder: Path, *, limit: int, block: int) -> None:
        """Raises ``ConfigError`` for a block below 64 KiB or a limit that holds fewer than 64 blocks."""
        if block < SMALLEST_BLOCK or limit * SWEEP < block:
            raise ConfigError(
                f"a cache of {limit} bytes in blocks of {block} makes no sense",
                hint=f"blocks of {SMALLEST_BLOCK} bytes or more, and room for 64 of them",
            )
        self.store, self.folder, self.limit, self.block = store, folder, limit, block
        self._sizes: dict[str, int] = {}
        self._written = limit * SWEEP
        self._broken = False

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``, out of the cache as far as they are there. Raises as the store does."""
        if length < 1:
            return self.store.get_range(key, start, length)
        first, last = start // self.block, (start + length - 1) // self.block
        blocks = {number: self._cached(key, number) for number in range(first, last + 1)}
        for low, high in _runs([number for number, data in blocks.items() if data is None]):
            blocks.update(self._fetch(key, low, high))
        data = b"".join(data for _, data in sorted(blocks.items()) if data)
        offset = start - first * self.block
        if len(data) < offset + length:  # a block that was cut, or a range beyond the shard: the store says which
            self.forget(key, start, length)
            return self.store.get_range(key, start, length)
        return data[offset : offset + length]

    def forget(self, key: str, start: int, length: int) -> None:
        """Drop the blocks of a range: they do not hold what they should."""
        for number in range(start // self.block, (start + length - 1) // self.block + 1):
            with contextlib.suppress(OSError):
                self._path(key, number).unlink()

    def get(self, key: str) -> bytes:
        """Not cached."""
        return self.store.get(key)

    def put(self, key: str, data: bytes) -> None:
        """Not cached."""
        self.store.put(key, data)

    def put_new(self, key: str, data: bytes) -> None:
        """Not cached."""
        self.store.put_new(key, data)

    def exists(self, key: str) -> bool:
        """Not cached."""
        return self.store.exists(key)

    def size(self, key: str) -> int:
        """Not cached."""
        return self.store.size(key)

    def list(self, prefix: str) -> list[str]:
        """Not cached."""
        return self.store.list(prefix)

    def _path(self, key: str, number: int) -> Path:
        return self.folder / key.rpartition("/")[2] / f"{self.block}-{number:06d}"

    def _cached(self, key: str, number: int) -> bytes | None:
        """A block from the disk, marked as used now."""
        path = self._path(key, number)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return data

    def _fetch(self, key: str, low: int, high: int) -> dict[int, bytes]:
        """Blocks ``low`` to ``high`` by one request, unless another process has just fetched them."""
        with self._alone(f"{key}:{low}"):
            found = {number: data for number in range(low, high + 1) if (data := self._cached(key, number)) is not None}
            if len(found) == high + 1 - low:
                return found
            start = low * self.block
            end = min((high + 1) * self.block, self._size(key))
            data = self.store.get_range(key, start, end - start) if end > start else b""
            cut = {low + place: data[at : at + self.block] for place, at in enumerate(range(0, len(data), self.block))}
            for number, block in cut.items():
                self._keep(self._path(key, number), block)
        return cut

    def _size(self, key: str) -> int:
        """Bytes of a shard, asked once a process."""
        if key not in self._sizes:
            self._sizes[key] = self.store.size(key)
        return self._sizes[key]

    def _keep(self, path: Path, data: bytes) -> None:
        """Write a block whole or not at all."""
        if self._broken:
            return
        temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            temporary.replace(path)
            self._grown(len(data))
        except FileNotFoundError:  # a sweep took the empty folder at this moment
            return
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            self._broken = True
            logger.warning("%s cannot be written or swept (%s): nothing more is kept", self.folder, error.strerror)

    def _grown(self, size: int) -> None:
        """So many bytes were written: sweep, where that is due."""
        self._written += size
        if self._written > self.limit * SWEEP:
            self._written = 0
            self._sweep()

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Hold one of the folder's locks, so that a block is fetched once; a holder that is stuck is passed by."""
        with self._lock(f"{zlib.crc32(name.encode()) % LOCKS:03d}", LOCK_SECONDS):
            yield

    @contextmanager
    def _lock(self, name: str, seconds: float) -> Iterator[bool]:
        """Whether the lock was had within ``seconds``, or there are none here. The kernel frees it when its holder
        dies."""
        try:
            (self.folder / "locks").mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "locks" / name, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            yield False
            return
        try:
            yield _flock(descriptor, seconds)
        finally:
            os.close(descriptor)

    def _sweep(self) -> None:
        """Remove the blocks not used for longest until the rest fits; one process at a time: two would each remove
        what is too much. One that another keeps waiting leaves it to that one."""
        with self._lock("sweep", SWEEP_SECONDS) as alone:
            if not alone:
                return
            blocks = sorted(block for shard in _shards(self.folder) for block in _blocks(shard))
            used = sum(size for _, size, _ in blocks)
            for _, size, path in blocks:
                if used <= self.limit * KEEP:
                    break
                path.unlink(missing_ok=True)
                used -= size


def _shards(folder: Path) -> list[Path]:
    """The folders of shards."""
    return [path for path in folder.iterdir() if path.is_dir() and path.name != "locks"]


def _flock(descriptor: int, seconds: float) -> bool:
    """Take an exclusive lock, trying for ``seconds``; True too where the file system has none."""
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.005)
        except OSError:
            return True
        else:
            return True


def _blocks(shard: Path) -> list[tuple[float, int, Path]]:
    """(last use, bytes, path) of a shard's blocks; temporary files of the dead, and an empty folder, go."""
    blocks: list[tuple[float, int, Path]] = []
    for path in _files(shard):
        try:
            stat = path.stat()
        except FileNotFoundError:  # renamed by its writer, or swept by another process
            continue
        if path.suffix == ".tmp" and time.time() - stat.st_mtime > STALE_SECONDS:
            path.unlink(missing_ok=True)
        else:
            blocks.append((stat.st_mtime, stat.st_size, path))
    if not blocks:
        with contextlib.suppress(OSError):  # another process writes into it again
            shard.rmdir()
    return blocks


def _files(shard: Path) -> list[Path]:
    """What is in a shard's folder; nothing where another process has just removed it."""
    try:
        return list(shard.iterdir())
    except FileNotFoundError:
        return []


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive numbers."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs
