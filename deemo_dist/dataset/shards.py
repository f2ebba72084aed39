"""Units from a manifest, and shards: deterministic ustar tars that any WebDataset reader reads."""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from deemo_dist.dataset.layout import shard_name
from deemo_dist.dataset.ustar import END, header, padding
from deemo_dist.digests import sha256_bytes
from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip, Member, TarReceipt, Unit
from deemo_dist.storage import SINGLE_PUT_BYTES

HASH_BATCH = 2**20
"""Bytes that are handed to the thread of the tar's digest at once."""

HEX = frozenset("0123456789abcdef")
EXTENSIONS = ("mp4", "flac", "cues.npy", "hands.npy", "json")


def plan_units(clips: Sequence[Clip], shard_bytes: int) -> tuple[Unit, ...]:
    """Cut a manifest into units of about ``shard_bytes`` raw bytes each, in the manifest's order.

    A function of the manifest alone (order, sizes, target), so that every process and every rerun cuts alike.
    Raises ``DatasetError`` for an empty manifest, a clip named twice, or a target that no single PUT can carry.
    """
    if not clips:
        raise DatasetError("the manifest holds no clips", hint="ingest some first")
    if not 0 < shard_bytes <= SINGLE_PUT_BYTES // 2:
        raise DatasetError(f"data.shard_bytes is {shard_bytes}", hint=f"between 1 and {SINGLE_PUT_BYTES // 2}")
    if len({clip.uri for clip in clips}) != len(clips):
        raise DatasetError("the manifest names a clip twice", hint="each clip must end in one row of the ledger")
    groups: list[list[Clip]] = []
    filled = 0
    for clip in clips:
        if not groups or filled + clip.size_bytes > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(clip)
        filled += clip.size_bytes
    return tuple(Unit(index=number, clips=tuple(group)) for number, group in enumerate(groups))


@dataclass(frozen=True)
class Shard:
    """A finished shard: its receipt, its bytes in pieces, and the members of each sample by key."""

    tar: TarReceipt
    chunks: tuple[bytes, ...]
    members: Mapping[str, tuple[Member, ...]]


class ShardWriter:
    """Builds one tar in memory: ustar, times and owners zero, the members of a sample adjacent.

    The bytes are a function of the members alone, so the same samples always give the same shard. Contents are kept by
    reference, never copied; the tar's digest is taken beside, in a thread, once there is enough to hand over.
    """

    def __init__(self, unit: int) -> None:
        self.unit = unit
        self._members: dict[str, tuple[Member, ...]] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        self._digest = _TarDigest()

    def add(self, key: str, files: Mapping[str, bytes]) -> None:
        """Append one sample: ``files`` maps extension to content, in the order given.

        Raises ``DatasetError`` for a key or extension a reader would take apart wrongly, or a key written before.
        """
        if not files or key in self._members or len(key) != 32 or not set(key) <= HEX:
            raise DatasetError(f"sample {key!r:.50} cannot be added to unit {self.unit}", hint="32 new hex digits")
        unknown = sorted(set(files) - set(EXTENSIONS))
        if unknown:
            raise DatasetError(f"unknown sample members: {', '.join(unknown)}", hint=f"known: {', '.join(EXTENSIONS)}")
        self._members[key] = tuple([self._append(key, extension, data) for extension, data in files.items()])

    def finish(self) -> Shard | None:
        """Close the tar; None when no sample was added."""
        if not self._members:
            return None
        self._write(END)
        if self._size >= SINGLE_PUT_BYTES:
            raise DatasetError(
                f"unit {self.unit} makes a shard of {self._size} bytes",
                hint="lower data.shard_bytes: one PUT takes 5 GiB",
            )
        digest = self._digest.finish()
        tar = TarReceipt(name=shard_name(self.unit, digest), size=self._size, sha256=digest)
        return Shard(tar=tar, chunks=tuple(self._chunks), members=dict(self._members))

    def _append(self, key: str, extension: str, data: bytes) -> Member:
        """Header, content and padding of one member."""
        self._write(header(f"{key}.{extension}", len(data)))
        member = Member(extension=extension, offset=self._size, size=len(data), sha256=sha256_bytes(data))
        self._write(data)
        self._write(padding(len(data)))
        return member

    def _write(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        self._digest.update(data)


class _TarDigest:
    """SHA-256 of the chunks given, in their order; by a thread (hashing leaves the interpreter's lock) in batches."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._thread: ThreadPoolExecutor | None = None

    def update(self, data: bytes) -> None:
        """Take one more chunk."""
        self._waiting.append(data)
        self._bytes += len(data)
        if self._bytes >= HASH_BATCH:
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="deemo-digest")
            self._thread.submit(self._take, self._waiting)
            self._waiting, self._bytes = [], 0

    def finish(self) -> str:
        """The hex digest of all chunks."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)
        self._take(self._waiting)
        return self._hash.hexdigest()

    def _take(self, chunks: Sequence[bytes]) -> None:
        for chunk in chunks:
            self._hash.update(chunk)
