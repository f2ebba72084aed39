"""Units from a manifest, and shards: deterministic ustar tars that any WebDataset reader reads."""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from deemo_dist.dataset.layout import shard_name
from deemo_dist.dataset.ustar import BLOCK, END, header, padding
from deemo_dist.digests import sha256_bytes
from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip, Member, TarReceipt, Unit
from deemo_dist.storage import SINGLE_PUT_BYTES

HASH_BATCH = 2**20
"""Bytes of content that are handed to the thread of the digests at once."""

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
    reference, never copied; the digests of tar and members are taken beside, in a thread, once there is enough to hand
    over.
    """

    def __init__(self, unit: int) -> None:
        self.unit = unit
        self._places: dict[str, list[_Place]] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        self._digests = _Digests()

    def add(self, key: str, files: Mapping[str, bytes]) -> None:
        """Append one sample: ``files`` maps extension to content, in the order given.

        Raises ``DatasetError`` for a key or extension a reader would take apart wrongly, or a key written before.
        """
        if not files or key in self._places or len(key) != 32 or not set(key) <= HEX:
            raise DatasetError(f"sample {key!r:.50} cannot be added to unit {self.unit}", hint="32 new hex digits")
        unknown = sorted(set(files) - set(EXTENSIONS))
        if unknown:
            raise DatasetError(f"unknown sample members: {', '.join(unknown)}", hint=f"known: {', '.join(EXTENSIONS)}")
        self._places[key] = [self._append(key, extension, data) for extension, data in files.items()]

    def finish(self) -> Shard | None:
        """Close the tar; None when no sample was added."""
        if not self._places:
            return None
        self._chunks.append(END)
        self._size += len(END)
        if self._size >= SINGLE_PUT_BYTES:
            raise DatasetError(
                f"unit {self.unit} makes a shard of {self._size} bytes",
                hint="lower data.shard_bytes: one PUT takes 5 GiB",
            )
        digest, of_members = self._digests.finish()
        tar = TarReceipt(name=shard_name(self.unit, digest), size=self._size, sha256=digest)
        each = iter(of_members)
        members = {
            key: tuple([Member(extension=e, offset=o, size=n, sha256=next(each)) for e, o, n in places])
            for key, places in self._places.items()
        }
        return Shard(tar=tar, chunks=tuple(self._chunks), members=members)

    def _append(self, key: str, extension: str, data: bytes) -> "_Place":
        """Header, content and padding of one member; where its content is."""
        chunks = (header(f"{key}.{extension}", len(data)), data, padding(len(data)))
        start, size = self._size + BLOCK, len(data)
        self._chunks += chunks
        self._size = start + size + len(chunks[2])
        self._digests.add(chunks)
        return extension, start, size


_Place = tuple[str, int, int]
"""Extension, offset and size of a member's content."""

_Parts = tuple[bytes, bytes, bytes]
"""Header, content and padding of a member."""


class _Digests:
    """SHA-256 of the tar, and of each member's content in their order; by a thread each, in batches: hashing leaves the
    interpreter's lock."""

    def __init__(self) -> None:
        self._tar = hashlib.sha256()
        self._members: list[str] = []
        self._waiting: list[_Parts] = []
        self._bytes = 0
        self._threads: tuple[ThreadPoolExecutor, ...] = ()

    def add(self, parts: _Parts) -> None:
        """Take one more member."""
        self._waiting.append(parts)
        self._bytes += len(parts[1])
        if self._bytes >= HASH_BATCH:
            self._hand_over()

    def finish(self) -> tuple[str, list[str]]:
        """The hex digest of the whole tar, its end included, and those of the members."""
        if self._threads:
            self._hand_over()
            for thread in self._threads:
                thread.shutdown(wait=True)
        else:
            self._take_tar(self._waiting)
            self._take_members(self._waiting)
        self._tar.update(END)
        return self._tar.hexdigest(), self._members

    def _hand_over(self) -> None:
        """What is waiting, to both threads."""
        self._threads = self._threads or tuple(ThreadPoolExecutor(1, thread_name_prefix="deemo-digest") for _ in "tm")
        for thread, take in zip(self._threads, (self._take_tar, self._take_members), strict=True):
            thread.submit(take, self._waiting)
        self._waiting, self._bytes = [], 0

    def _take_tar(self, members: Sequence[_Parts]) -> None:
        for parts in members:
            for part in parts:
                self._tar.update(part)

    def _take_members(self, members: Sequence[_Parts]) -> None:
        self._members += [sha256_bytes(content) for _, content, _ in members]
