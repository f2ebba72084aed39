"""Units from a manifest, and shards: deterministic ustar tars that any WebDataset reader reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blake3 import blake3

from deemo_dist.dataset.layout import shard_name
from deemo_dist.dataset.ustar import BLOCK, END, header, padding
from deemo_dist.digests import blake3_bytes
from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip, Member, TarReceipt, Unit
from deemo_dist.storage import SINGLE_PUT_BYTES

BATCH = 2**20
"""Bytes of a tar that are hashed at once: by less, little pieces take half as long again."""

HEX = frozenset("0123456789abcdef")
EXTENSIONS = ("mp4", "flac", "cues.npy", "hands.npy", "json")


def plan_units(clips: Sequence[Clip], shard_bytes: int) -> tuple[Unit, ...]:
    """Cut clips into units of about ``shard_bytes`` raw bytes each, in the order in which they are given.

    A function of order, sizes and target alone, so that every process and every rerun cuts alike. The order stays to be
    seen in the dataset: clips of people are given in that of their keys (``pipelines.sealed.units_of``).
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
    reference, never copied.
    """

    def __init__(self, unit: int) -> None:
        self.unit = unit
        self._members: dict[str, tuple[Member, ...]] = {}
        self._tar = _Tar()

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
        digest = self._tar.finish()
        if self._tar.size >= SINGLE_PUT_BYTES:
            raise DatasetError(
                f"unit {self.unit} makes a shard of {self._tar.size} bytes",
                hint="lower data.shard_bytes: one PUT takes 5 GiB",
            )
        tar = TarReceipt(name=shard_name(self.unit, digest), size=self._tar.size, blake3=digest)
        return Shard(tar=tar, chunks=tuple(self._tar.chunks), members=self._members)

    def _append(self, key: str, extension: str, data: bytes) -> Member:
        """Header, content and padding of one member."""
        size, offset = len(data), self._tar.size + BLOCK
        self._tar.add((header(f"{key}.{extension}", size), data, padding(size)))
        return Member(extension=extension, offset=offset, size=size, blake3=blake3_bytes(data))


class _Tar:
    """A tar's bytes, in pieces as they were given, and their digest.

    ``size``: bytes so far; ``chunks``: the pieces.
    """

    def __init__(self) -> None:
        self.size = 0
        self.chunks: list[bytes] = []
        self._digest = blake3()
        self._hashed = self._hashed_bytes = 0

    def add(self, pieces: tuple[bytes, ...]) -> None:
        """Append some bytes."""
        self.chunks += pieces
        self.size += sum(map(len, pieces))
        if self.size - self._hashed_bytes >= BATCH:
            self._take()

    def finish(self) -> str:
        """Append a tar's end; the hex digest of all bytes."""
        self.chunks.append(END)
        self.size += len(END)
        self._take()
        return self._digest.hexdigest()

    def _take(self) -> None:
        self._digest.update(b"".join(self.chunks[self._hashed :]))
        self._hashed, self._hashed_bytes = len(self.chunks), self.size
