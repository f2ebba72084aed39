"""Masked frames on their way out, held back until the audit has looked beyond them: what it sees open is filled first.

A look stands for the frames about it. So what it shows is filled from the look before it to the look that follows, and
no frame leaves before both are known.
"""

from collections.abc import Callable

import numpy as np

from deemo_dist.config import PolicyConfig
from deemo_dist.deid import geometry
from deemo_dist.deid.faces import masking

NOTHING = np.zeros((0, 4))


class Mending:
    """Gives frames to ``write`` (frame, time in seconds), in order, those that need it mended in a copy.

    Holds the frames since the last look, with that: ``policy.audit_every`` and one at most.
    ``frames``: how many were mended.
    """

    def __init__(self, policy: PolicyConfig, write: Callable[[np.ndarray, float], object]) -> None:
        self.frames = 0
        self._policy = policy
        self._write = write
        self._held: list[tuple[np.ndarray, float]] = []
        self._before = NOTHING

    def hold(self, frame: np.ndarray, time: float) -> None:
        """Take the next masked frame, uint8 [H, W, 3]."""
        self._held.append((frame, time))

    def looked(self, open_: np.ndarray) -> None:
        """The audit has looked at the newest frame: ``open_`` float64 [N, 4], faces that it saw outside the masks. That
        frame stays until the next look."""
        self._release(open_, staying=1)

    def finish(self, open_: np.ndarray) -> None:
        """The same of the last frame: all that was held leaves."""
        self._release(open_, staying=0)

    def _release(self, open_: np.ndarray, *, staying: int) -> None:
        boxes = np.concatenate([self._before, open_])
        count = max(0, len(self._held) - staying)
        for frame, time in self._held[:count]:
            self._write(self._mended(frame, boxes), time)
        self._held = self._held[count:]
        self._before = open_

    def _mended(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        if not len(boxes):
            return frame
        self.frames += 1
        height, width = frame.shape[:2]
        regions = geometry.snap(geometry.dilate(boxes, self._policy.dilate), masking.GRID, width, height)
        return masking.mask(frame[None], [regions], kind=self._policy.faces)[0]
