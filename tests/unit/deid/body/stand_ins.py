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


def figure(left: tuple[float, float] | None = None, right: tuple[float, float] | None = None) -> np.ndarray:
    """33 landmarks of somebody who faces the camera, shoulders 80 px apart; wrists at ``left`` and ``right`` (pixels),
    where None hanging down."""
    points = np.zeros((33, 2))
    points[0] = (100, 62)
    points[1:7] = [(104, 57), (107, 57), (110, 57), (96, 57), (93, 57), (90, 57)]
    points[7:11] = [(116, 60), (84, 60), (105, 70), (95, 70)]
    points[11], points[12] = (140, 110), (60, 110)
    points[23], points[24] = (125, 225), (75, 225)
    points[25:33] = [(125, 320), (75, 320), (125, 410), (75, 410), (125, 420), (75, 420), (135, 425), (65, 425)]
    for side, sign, given in ((0, 1, left), (1, -1, right)):
        shoulder = points[11 + side]
        wrist = shoulder + np.array([sign * 10, 115]) if given is None else np.array(given, dtype=np.float64)
        elbow = (shoulder + wrist) / 2 + (sign * 20, 12)
        along = (wrist - elbow) / np.linalg.norm(wrist - elbow)
        across = np.array([-along[1], along[0]])
        points[13 + side], points[15 + side] = elbow, wrist
        points[17 + side] = wrist + 12 * along + 4 * across
        points[19 + side] = wrist + 14 * along - 2 * across
        points[21 + side] = wrist + 8 * along - 5 * across
    return points
