"""What a data set holds, read back out of its shards.

What is wrong with those is never taken for a fault of a raw clip: no error here is one of media or of storage.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deemo_dist.dataset import load_member
from deemo_dist.errors import CorruptDataError, DatasetError, NotFoundError, StorageError
from deemo_dist.media import decode_frames
from deemo_dist.records import Annotation, IndexRow
from deemo_dist.storage import Store

TOGETHER = 16  # frames in memory at a time


@dataclass(frozen=True, kw_only=True)
class Released:
    """What a data set holds, or so far holds: its rows, and what is said of them by key."""

    store: Store
    prefix: str
    rows: Sequence[IndexRow]
    annotations: Mapping[str, Annotation]

    def member(self, row: IndexRow, extension: str) -> bytes:
        """One file of a sample. Raises ``DatasetError`` that names the shard where that cannot be read, or where the
        sample has no such file, and ``CorruptDataError`` where it is another than was written."""
        try:
            return load_member(row, self.store, self.prefix, extension)
        except NotFoundError:
            raise DatasetError(
                f"{self.prefix}: shard {row.shard} is gone, and sample {row.key} with it",
                hint="`deemo dataset verify` names all that is missing; put the shard back before an audit",
            ) from None
        except StorageError as error:
            raise DatasetError(
                f"{self.prefix}: shard {row.shard} with sample {row.key} cannot be read: {error.message}",
                hint=error.hint,
            ) from None

    def frames(self, row: IndexRow, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """The frames of these numbers in turn, uint8 [H, W, 3], decoded a few at a time. Raises as ``member``, and
        ``CorruptDataError`` where the sample's video does not decode or ends before."""
        video = self.member(row, "mp4")
        for first in range(0, len(numbers), TOGETHER):
            try:
                shown = decode_frames(video, np.array(numbers[first : first + TOGETHER]))
            except IndexError:
                raise CorruptDataError(f"the video of sample {row.key} has fewer frames than its index row") from None
            yield from (frame.copy() for frame in shown)  # a view would keep all of them in memory
            del shown
