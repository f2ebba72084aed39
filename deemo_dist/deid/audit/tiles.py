"""Small faces, for the audit: a detector shown overlapping tiles of a released frame, a part of them at each look.

BlazeFace's full range sees faces of a twelfth of a picture's longer side and more. In tiles of 256 px, measured on real
faces scaled down: 16 px .69 to .77, 24 px .81 to .90, 48 px .92 to .96; away from faces, on masked footage and on a
film without anybody, .67 at most.
"""

from dataclasses import dataclass, field

import numpy as np

from deemo_dist.deid.faces.detectors import FaceDetector

SIDE = 256
OVERLAP = 0.2
GROWTH = 2.5
ROUND = 8  # looks in which every tile is looked at once

Tile = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels."""


def tiles(height: int, width: int) -> list[Tile]:
    """Squares of ``SIDE``, of ``GROWTH`` times that, and so on, that cover a frame, and the whole frame."""
    found, side = list[Tile](), float(SIDE)
    while side < max(height, width):
        found += [
            (left, top, min(width, left + int(side)), min(height, top + int(side)))
            for top in _starts(height, int(side))
            for left in _starts(width, int(side))
        ]
        side *= GROWTH
    return [*found, (0, 0, width, height)]


def _starts(length: int, side: int) -> list[int]:
    """Where pieces of ``side`` begin that overlap and cover ``length``."""
    step = side * (1 - OVERLAP)
    count = max(1, int(np.ceil((length - side) / step)) + 1)
    return [round(place * (length - side) / max(1, count - 1)) for place in range(count)]


@dataclass(frozen=True)
class TileLook:
    """What one tile showed: ``boxes`` float64 [N, 4] in the frame's pixels, ``scores`` float64 [N]. A face may be in
    several tiles."""

    tile: Tile
    boxes: np.ndarray
    scores: np.ndarray


@dataclass
class TileWatch:
    """Shows ``detector`` the tiles of frames, in turn: all of them in ``ROUND`` looks."""

    detector: FaceDetector
    _rest: list[list[Tile]] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether every tile was looked at since the round began."""
        return not self._rest

    def __call__(self, frame: np.ndarray) -> list[TileLook]:
        """Faces in the next part of the tiles of a frame uint8 [H, W, 3]."""
        self._begin(frame)
        return self._in(frame, self._rest.pop())

    def all_of(self, frame: np.ndarray) -> list[TileLook]:
        """The same in all tiles that are left of the round, or of a new one, at once."""
        self._begin(frame)
        parts, self._rest = self._rest, []
        return self._in(frame, [tile for part in parts for tile in part])

    def _begin(self, frame: np.ndarray) -> None:
        """A new round, if the last one is over."""
        if not self._rest:
            every = tiles(*frame.shape[:2])
            self._rest = [part for turn in range(ROUND) if (part := every[turn::ROUND])]

    def _in(self, frame: np.ndarray, part: list[Tile]) -> list[TileLook]:
        return [self._look(frame, tile) for tile in part]

    def _look(self, frame: np.ndarray, tile: Tile) -> TileLook:
        left, top, right, bottom = tile
        boxes, scores = self.detector(np.ascontiguousarray(frame[top:bottom, left:right]))
        return TileLook(tile, boxes + np.array([left, top] * 2), scores)
