"""Splits are by subject: whoever is in two of them makes the scores of one say nothing."""

from collections import Counter
from collections.abc import Sequence

from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip, plain_subject


class SplitOf:
    """The split of each subject so far, however it is spelled, and where that was said first."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, int]] = {}

    def elsewhere(self, clip: Clip, place: int) -> tuple[str, int] | None:
        """The other split that the clip's subject is in, and the ``place`` (line, row) of its first clip there."""
        split, first = self._first.setdefault(plain_subject(clip.subject), (clip.split, place))
        return None if split == clip.split else (split, first)


def refuse_split_subjects(clips: Sequence[Clip]) -> None:
    """Raise ``DatasetError`` where a subject's clips are in more than one split. The message names rows and counts, and
    nobody."""
    first, found = SplitOf(), Counter[str]()
    rows: tuple[int, int] | None = None
    for number, clip in enumerate(clips, 1):
        if other := first.elsewhere(clip, number):
            found[plain_subject(clip.subject)] += 1
            rows = rows or (other[1], number)
    if rows:
        raise DatasetError(
            f"{len(found)} subjects have clips in more than one split (first: rows {rows[0]} and {rows[1]} of the "
            "manifest): scores on held-out clips would mean nothing",
            hint="splits are by subject: put all clips of a subject into one, and ingest the clips again",
        )
