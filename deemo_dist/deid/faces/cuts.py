"""Scene cuts: where the picture changes at once, so that nothing is tracked across."""

import numpy as np

GRID = 32
CUT = 28.0  # grey levels that a grid point changes on average
TIMES = 3.0  # and how much more than it did lately


class CutWatch:
    """Compares each frame with the one before on a coarse grid of points: too cheap to skip a frame."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None
        self._usual = 0.0

    def __call__(self, frame: np.ndarray) -> bool:
        """Whether ``frame`` (uint8 [H, W, 3]) begins another scene."""
        height, width = frame.shape[:2]
        points = frame[:: max(1, height // GRID), :: max(1, width // GRID)].astype(np.int16)
        before, self._before = self._before, points
        if before is None:
            return False
        change = float(np.abs(points - before).mean())
        cut = change > CUT and change > TIMES * self._usual
        self._usual = 0.8 * self._usual + 0.2 * min(change, CUT)
        return cut
