"""Bodies made of numbers, for tests."""

import numpy as np

from deemo_dist.deid.body.cues import FINGERS
from deemo_dist.deid.body.hands import Hand

SPREAD = {1: -1.0, 5: -0.25, 9: 0.0, 13: 0.2, 17: 0.42}


def hand(*, size: float, at: tuple[float, float], thick: float = 1.0, curl: float = 0.0, side: int = 0) -> Hand:
    """A hand that points up: palm of ``size`` pixels, its wrist ``at``; ``thick`` scales fingers, ``curl`` (0 to 1)
    bends them back into the palm."""
    points = np.zeros((21, 2))
    direction = np.zeros(2)
    for parent, child, length in FINGERS:
        if child in SPREAD:
            turn = SPREAD[child]
            direction = np.array([np.sin(turn), -np.cos(turn)])
            points[child] = direction * length
        else:
            turn = (child - 1) % 4
            bent = direction * (1 - 2 * curl if turn > 1 or child < 5 else 1 - curl)
            points[child] = points[parent] + bent * length * thick
    return Hand(points=points * size + np.array(at), score=0.9, side=side)
