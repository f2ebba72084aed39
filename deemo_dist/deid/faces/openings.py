"""Faces seen open at looks that lie apart: in which frames each may have been open, and where it was meanwhile."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from deemo_dist.deid import geometry
from deemo_dist.deid.faces.tracks import matched

ALONE = 0.5
"""How much of its size a face is given on every side towards a look at which it was nowhere."""

Place = tuple[int, int, int, int]
"""What a detector was shown at once, and is shown again: x0, y0, x1, y1 in pixels."""


@dataclass(frozen=True)
class Opening:
    """From frame ``first`` to ``last``, both included, a face may be open to see within ``box`` (float64 [4])."""

    first: int
    last: int
    box: np.ndarray


@dataclass(frozen=True)
class Sight:
    """One look at one place. ``number``: the frame; ``boxes``: float64 [N, 4] of all that looked like a face;
    ``open_``: bool [N], those of them that are not hidden."""

    number: int
    boxes: np.ndarray
    open_: np.ndarray


@dataclass
class Openings:
    """Takes the sights of every place, ascending by frame; of each keeps the last."""

    _last: dict[Place, Sight] = field(default_factory=dict)
    _found: list[Opening] = field(default_factory=list)

    def take(self, place: Place, sight: Sight) -> None:
        """The next look at ``place``."""
        before = self._last.get(place, Sight(0, np.zeros((0, 4)), np.zeros(0, bool)))
        self._found += between(before, sight)
        self._last[place] = sight

    def all(self, last: int) -> list[Opening]:
        """Of all sights so far, in a clip whose last frame is ``last``."""
        end = Sight(last, np.zeros((0, 4)), np.zeros(0, bool))
        return self._found + [opening for sight in self._last.values() for opening in between(sight, end)]


def between(one: Sight, other: Sight) -> Iterator[Opening]:
    """What may be open from one look at a place to the next: a face seen at both, where one of them shows it open,
    within the union of its boxes; one seen open at one of them alone, about there."""
    pairs = matched(one.boxes, other.boxes)
    for later, earlier in pairs.items():
        if one.open_[earlier] or other.open_[later]:
            yield Opening(one.number, other.number, geometry.union(one.boxes[earlier], other.boxes[later]))
    alone = [
        *(one.boxes[number] for number in np.flatnonzero(one.open_) if number not in pairs.values()),
        *(other.boxes[number] for number in np.flatnonzero(other.open_) if number not in pairs),
    ]
    for box in alone:
        yield Opening(one.number, other.number, geometry.dilate(box, ALONE))
