"""Units from a manifest, and shards: deterministic ustar tars that any WebDataset reader reads."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deemo_dist.dataset.layout import shard_name
from deemo_dist.digests import sha256_bytes
from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip, Member, TarReceipt, Unit

SINGLE_PUT_BYTES = 5 * 2**30
"""S3 takes one PUT up to 5 GiB: a shard stays below, so that it appears whole or not at all."""

BLOCK = tarfile.BLOCKSIZE
EXTENSIONS = ("mp4", "flac", "cues.npy", "json")


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
    """A finished shard: its receipt, its bytes, and the members of each sample by key."""

    tar: TarReceipt
    data: bytes
    members: Mapping[str, tuple[Member, ...]]


class ShardWriter:
    """Builds one tar in memory: ustar, times and owners zero, the members of a sample adjacent.

    The bytes are a function of the members alone, so the same samples always give the same shard.
    """

    def __init__(self, unit: int) -> None:
        self.unit = unit
        self._buffer = io.BytesIO()
        self._members: dict[str, tuple[Member, ...]] = {}

    def add(self, key: str, files: Mapping[str, bytes]) -> None:
        """Append one sample: ``files`` maps extension to content, in the order given.

        Raises ``DatasetError`` for a key or extension a reader would take apart wrongly, or a key written before.
        """
        if not files or key in self._members or len(key) != 32 or not set(key) <= set("0123456789abcdef"):
            raise DatasetError(f"sample {key!r:.50} cannot be added to unit {self.unit}", hint="32 new hex digits")
        unknown = sorted(set(files) - set(EXTENSIONS))
        if unknown:
            raise DatasetError(f"unknown sample members: {', '.join(unknown)}", hint=f"known: {', '.join(EXTENSIONS)}")
        self._members[key] = tuple(self._append(key, extension, data) for extension, data in files.items())

    def finish(self) -> Shard | None:
        """Close the tar; None when no sample was added."""
        if not self._members:
            return None
        self._buffer.write(b"\0" * 2 * BLOCK)
        data = self._buffer.getvalue()
        if len(data) >= SINGLE_PUT_BYTES:
            raise DatasetError(
                f"unit {self.unit} makes a shard of {len(data)} bytes",
                hint="lower data.shard_bytes: one PUT takes 5 GiB",
            )
        digest = sha256_bytes(data)
        tar = TarReceipt(name=shard_name(self.unit, digest), size=len(data), sha256=digest)
        return Shard(tar=tar, data=data, members=dict(self._members))

    def _append(self, key: str, extension: str, data: bytes) -> Member:
        """Write header, content and padding of one member."""
        info = tarfile.TarInfo(f"{key}.{extension}")
        info.size, info.mode = len(data), 0o644
        self._buffer.write(info.tobuf(tarfile.USTAR_FORMAT))
        offset = self._buffer.tell()
        self._buffer.write(data)
        self._buffer.write(b"\0" * (-len(data) % BLOCK))
        return Member(extension=extension, offset=offset, size=len(data), sha256=sha256_bytes(data))
