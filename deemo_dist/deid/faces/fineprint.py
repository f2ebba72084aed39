"""Text too small for a scaled copy, as name labels of calls and on screens are: looked for in the frame's own pixels.

A large frame has many pixels, and the text's network is slow. So it is shown only parts of tiles: where strokes stand
still that were not there when the tile was looked at last, or where those of a text are gone. A picture that does not
change is looked at once. Where much changes all the time, tiles wait for their turn, and what is found in one is masked
back to when it was looked at before.
"""

from collections.abc import Mapping

import numpy as np

from deemo_dist.deid import geometry
from deemo_dist.deid.faces.strokes import CELL, by_cell, fresh, steady, strokes
from deemo_dist.deid.faces.text import LONGEST, SHORTEST, TextDetector

LARGE = 1.25 * LONGEST  # pixels of the longer side: a smaller frame's copy shows what the frame does
OVERLAP = 64  # pixels that tiles share
LEAST = 12  # pixels of strokes in a cell, that may be of a letter
GONE = 0.5  # of a text's strokes
MARGIN = 32  # pixels about what changed
PIXELS = 900_000  # a second, of 1080p two tiles in six; beside all tiles once

Tile = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels."""


def text_tiles(width: int, height: int) -> list[Tile]:
    """Tiles of at most ``LONGEST`` pixels a side that cover a frame and share ``OVERLAP``."""
    return [(left, top, right, bottom) for top, bottom in _spans(height) for left, right in _spans(width)]


def _spans(length: int) -> list[tuple[int, int]]:
    count = max(1, -(-(length - OVERLAP) // (LONGEST - OVERLAP)))
    side = min(length, -(-(length + (count - 1) * OVERLAP) // count))
    starts = [place * (length - side) // max(1, count - 1) for place in range(count)]
    return [(start, start + side) for start in starts]


class FinePrint:
    """Looks at the large frames of one clip for small text, at two neighbouring checks every ``seconds``."""

    def __init__(self, detect: TextDetector, seconds: float) -> None:
        self._detect = detect
        self._seconds = seconds
        self._tiles: list[Tile] = []
        self._found: dict[Tile, dict[int, np.ndarray]] = {}
        self._known = np.zeros((0, 0), np.uint8)
        self._first: tuple[int, np.ndarray] | None = None
        self._at = -np.inf
        self._pixels = 0.0

    @property
    def found(self) -> list[Mapping[int, np.ndarray]]:
        """By tile: boxes float64 [N, 4] by the frame looked at."""
        return [self._found[tile] for tile in self._tiles]

    def check(self, number: int, time: float, frame: np.ndarray, *, last: bool = False) -> None:
        """Take a frame uint8 [H, W, 3] at ``time`` seconds, one of those shown every tenth of a second or so; ``last``:
        no other one comes, all that waits is looked at."""
        height, width = frame.shape[:2]
        if max(height, width) <= LARGE:
            return
        if not self._tiles:
            self._begin(width, height)
        if self._first is not None or last:
            self._look(number, frame, last=last)
        elif time - self._at >= self._seconds - 1e-6:
            self._pixels = min(width * height * 1.5, self._pixels + min(time - self._at, 60.0) * PIXELS)
            self._first, self._at = (number, strokes(_grey(frame))), time

    def _begin(self, width: int, height: int) -> None:
        self._tiles = text_tiles(width, height)
        self._found = {tile: {} for tile in self._tiles}
        self._known = np.zeros((height, width), np.uint8)

    def _look(self, number: int, frame: np.ndarray, *, last: bool) -> None:
        """Look where that is wanted, first at tiles that were not looked at for longest: what may be looked at adds up
        for the first one that is too large, however small the others are. Elsewhere nothing has changed until the check
        before: what came after it is not steady yet."""
        now = strokes(_grey(frame))
        first, before = self._first or (number, now)
        now, self._first = steady(before, now), None
        marks = fresh(now, self._known) >= LEAST
        marks |= self._gone(now)
        waits = False
        for tile in sorted(self._tiles, key=lambda tile: next(reversed(self._found[tile]), -1)):
            part = _part(tile, marks)
            if part is None:
                self._found[tile][first] = self._boxes(tile)
                continue
            waits = not last and (waits or self._pixels < _area(part))
            if not waits:
                self._pixels -= 0 if last else _area(part)
                self._examine(number, frame, now, tile, part)

    def _gone(self, now: np.ndarray) -> np.ndarray:
        """Cells of texts whose strokes are mostly gone: bool [rows, columns]."""
        marks = np.zeros_like(now, dtype=bool)
        for tile in self._tiles:
            for left, top, right, bottom in np.clip(self._boxes(tile), 0, None).astype(int):
                known, shown = (each[top:bottom, left:right] for each in (self._known, now))
                if np.count_nonzero((known > 0) & (known == shown)) < GONE * max(1, int(np.count_nonzero(known))):
                    marks[top:bottom, left:right] = True
        return by_cell(marks) > 0

    def _boxes(self, tile: Tile) -> np.ndarray:
        """What was found in a tile last."""
        looks = self._found[tile]
        return looks[next(reversed(looks))] if looks else np.zeros((0, 4))

    def _examine(self, number: int, frame: np.ndarray, now: np.ndarray, tile: Tile, part: Tile) -> None:
        """Look at ``part`` of a tile; of what was known, that stays which does not lie within it."""
        left, top, right, bottom = part
        boxes = self._detect(np.ascontiguousarray(frame[top:bottom, left:right])) + np.array([left, top] * 2)
        before = self._boxes(tile)
        within = geometry.intersection(before, np.array([part], dtype=np.float64))[:, 0] >= geometry.area(before)
        self._found[tile][number] = np.concatenate([before[~within], boxes])
        self._known[top:bottom, left:right] = now[top:bottom, left:right]


def _part(tile: Tile, marks: np.ndarray) -> Tile | None:
    """What to look at of a tile: all of its marked cells (bool [rows, columns]) and a margin; None without any."""
    left, top, right, bottom = tile
    rows, columns = np.nonzero(marks[top // CELL : -(-bottom // CELL), left // CELL : -(-right // CELL)])
    if not len(rows):
        return None
    y0, y1 = (int(rows.min()) + top // CELL) * CELL - MARGIN, (int(rows.max()) + top // CELL + 1) * CELL + MARGIN
    x0, x1 = (
        (int(columns.min()) + left // CELL) * CELL - MARGIN,
        (int(columns.max()) + left // CELL + 1) * CELL + MARGIN,
    )
    x0, x1 = _widened(max(left, x0), min(right, x1), left, right)
    return x0, max(top, y0), x1, min(bottom, y1)


def _widened(start: int, end: int, low: int, high: int) -> tuple[int, int]:
    """A span within ``low`` to ``high``, of ``SHORTEST`` pixels at least if there is room: a smaller part would be
    enlarged."""
    missing = max(0, SHORTEST - (end - start))
    start = max(low, start - missing // 2)
    end = min(high, max(end, start + SHORTEST))
    return max(low, min(start, end - SHORTEST)), end


def _area(part: Tile) -> int:
    return (part[2] - part[0]) * (part[3] - part[1])


def _grey(frame: np.ndarray) -> np.ndarray:
    import cv2

    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
