"""Burnt-in text (name plates, lower thirds, score boards, credits): found now and then, masked from look to look.

Looks at a scaled copy every so many seconds, at cuts, and as soon as strokes have come that stand still, so that what
is shown for a moment is found, too. What moves is followed between looks (see ``follow``), and what is too small for
the copy is looked for in the frame's own pixels (see ``fineprint``).
"""

from collections.abc import Iterable, Mapping

import numpy as np

from deemo_dist.config import PolicyConfig
from deemo_dist.deid.faces.cuts import CutWatch
from deemo_dist.deid.faces.fineprint import FinePrint
from deemo_dist.deid.faces.follow import Step, Sweep, sweeps
from deemo_dist.deid.faces.scan import RATE
from deemo_dist.deid.faces.strokes import by_cell, fresh, steady, strokes
from deemo_dist.deid.faces.text import LONGEST, TextDetector

SOONEST = 0.2  # seconds from one look to the next
DENSE = 80  # pixels of strokes, come to stay, in a cell of a copy: a word is more
MOST = 0.5  # of a cell's strokes, that stay: by chance, of noise, fewer do
KEPT = 64  # copies between two looks


class CaptionScan:
    """Finds the burnt-in text of one clip; see the module. Compares frames ``policy.detect_every`` apart.

    What is seen in a look is masked from the look before to the look after; what is seen in a regular one, from regular
    look to regular look, for text is missed now and then. Frames given to :meth:`see` are not to be changed afterwards.
    """

    def __init__(self, policy: PolicyConfig, detector: TextDetector) -> None:
        self._detect = detector
        self._seconds = policy.captions_seconds
        self._every, self._check_seconds = policy.detect_every, policy.detect_every / RATE
        self._wanted = policy.captions == "mask"
        self._cut = CutWatch()
        self._fine = FinePrint(detector, policy.captions_seconds / 2)
        self._found: dict[int, np.ndarray] = {}
        self._regular: dict[int, np.ndarray] = {}
        self._sweeps: list[Sweep] = []
        self._copies: list[Step] = []
        self._known = np.zeros((0, 0), np.uint8)
        self._checked: tuple[int, float, np.ndarray] | None = None
        self._looked, self._at, self._due = -1, -np.inf, -np.inf
        self._last: tuple[int, float, np.ndarray] | None = None

    def see(self, number: int, time: float, frame: np.ndarray) -> None:
        """Take the next frame (uint8 [H, W, 3] RGB) at ``time`` seconds."""
        before, self._last = self._last, (number, time, frame)
        if not self._wanted:
            return
        cut = self._cut(frame)
        if cut and before is not None and before[0] not in self._found:
            self._look(*before)
        if cut:
            self._copies, self._checked = [], None
        due = cut or time >= self._due - 1e-6
        if due or self._is_checked(number, time):
            came = self._check(number, time, frame)
            if due or (came and time - self._at >= SOONEST - 1e-6):
                self._look(number, time, frame)
            if due:
                self._regular[number], self._due = self._found[number], time + self._seconds

    def finish(self) -> list[np.ndarray]:
        """Boxes float64 [N, 4] to mask, by frame."""
        if self._last is None:
            return []
        number, time, frame = self._last
        if self._wanted:
            if number not in self._found:
                self._look(number, time, frame)
            self._regular[number] = self._found[number]
            self._fine.check(number, time, frame, last=True)
        self._last = None
        return held([self._regular, self._found, *self._fine.found], self._sweeps, number + 1)

    def _is_checked(self, number: int, time: float) -> bool:
        if self._checked is None:
            return True
        return number - self._checked[0] >= self._every or time - self._checked[1] > self._check_seconds

    def _check(self, number: int, time: float, frame: np.ndarray) -> bool:
        """Compare a frame with the one checked before it: whether strokes have come to stay."""
        self._fine.check(number, time, frame)
        self._keep(number, grey_copy(frame))
        before, now = self._checked, strokes(self._copies[-1][1])
        self._checked = (number, time, now)
        if before is None or not self._known.size:
            return False
        came = fresh(steady(before[2], now), self._known)
        return bool(((came >= DENSE) & (came >= MOST * by_cell(now > 0))).any())

    def _keep(self, number: int, copy: np.ndarray) -> None:
        """Remember a copy; of too many, every other one."""
        self._copies.append((number, copy))
        if len(self._copies) > KEPT:
            self._copies = [*self._copies[:-1:2], self._copies[-1]]

    def _look(self, number: int, time: float, frame: np.ndarray) -> None:
        """Look at a frame, and follow what it and the look before show through the copies between."""
        if not self._copies or self._copies[-1][0] != number:
            self._keep(number, grey_copy(frame))
        self._found[number] = boxes = self._detect(frame)
        scale = self._copies[-1][1].shape[1] / frame.shape[1]
        first, *_ = copies = self._copies
        known = self._found[self._looked] if self._looked == first[0] else boxes[:0]
        moved = [*sweeps(copies[-1], boxes * scale, copies[-2::-1]), *sweeps(first, known * scale, copies[1:])]
        self._sweeps += [Sweep(each.start, each.end, each.box / scale) for each in moved]
        self._copies = copies[-1:]
        self._known = strokes(copies[-1][1])
        self._looked, self._at = number, time


def grey_copy(frame: np.ndarray) -> np.ndarray:
    """A frame uint8 [H, W, 3] in grey, at most ``LONGEST`` pixels long: uint8 [h, w]."""
    import cv2

    height, width = frame.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA) if scale < 1 else frame
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))


def held(looks: Iterable[Mapping[int, np.ndarray]], swept: Iterable[Sweep], frames: int) -> list[np.ndarray]:
    """Each look's boxes, from the frame after the look before to the frame before the look after, and on both; and what
    moved on its way."""
    boxes: list[list[np.ndarray]] = [[] for _ in range(frames)]
    for found in looks:
        numbers = sorted(found)
        for place, number in enumerate(numbers):
            start = numbers[place - 1] if place else 0
            stop = numbers[place + 1] if place + 1 < len(numbers) else frames - 1
            if len(found[number]):
                for frame in range(start, stop + 1):
                    boxes[frame].append(found[number])
    for sweep in swept:
        for frame in range(sweep.start, sweep.end + 1):
            boxes[frame].append(sweep.box[None])
    return [np.concatenate(each) if each else np.zeros((0, 4)) for each in boxes]
