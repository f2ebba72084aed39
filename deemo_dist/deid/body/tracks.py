"""The main person's keypoints over time, as seen at the looks: pose and hands put together, and what lies between."""

from dataclasses import dataclass

import numpy as np

from deemo_dist.deid.body.hands import Hand
from deemo_dist.deid.body.people import Bodies
from deemo_dist.deid.body.pose import Pose

GAP_SECONDS = 1.0
"""Between looks further apart than this nothing is claimed: confidence 0."""

HOLD_SECONDS = 0.2
"""So long what was seen first or last still holds."""

# wrist, pinky, index and thumb of a pose (left and right), and the same of a hand: its wrist, two knuckles, thumb joint
_OF_POSE = ((15, 17, 19, 21), (16, 18, 20, 22))
_OF_HAND = (0, 17, 5, 2)


@dataclass(frozen=True)
class Looks:
    """What was seen, in the order of time. ``seconds`` [N]; ``points`` [N, K, 2] in pixels; ``confidence`` [N, K];
    ``person`` int [N], another number where the main person may be another one. All but it float64."""

    seconds: np.ndarray
    points: np.ndarray
    confidence: np.ndarray
    person: np.ndarray


def body_looks(bodies: Bodies, times: np.ndarray) -> Looks:
    """All 33 landmarks of the main person, wrists and knuckles taken from the hand where a hand was seen. Facial ones
    are among them: not to be stored. ``times``: float64 [T] seconds of all frames."""
    numbers = sorted(bodies.poses)
    joined = [_joined(bodies.poses[number], bodies.hands.get(number, ())) for number in numbers]
    return _looks(numbers, [points for points, _ in joined], [sure for _, sure in joined], bodies, times)


def hand_looks(bodies: Bodies, times: np.ndarray, side: int) -> Looks:
    """The 21 landmarks of one hand (0 left, 1 right)."""
    seen = {number: hand for number, hands in bodies.hands.items() for hand in hands if hand.side == side}
    numbers = sorted(seen)
    hands = [seen[number] for number in numbers]
    sure = [np.full(len(hand.points), hand.score) for hand in hands]
    return _looks(numbers, [hand.points for hand in hands], sure, bodies, times)


def _looks(
    numbers: list[int], points: list[np.ndarray], confidence: list[np.ndarray], bodies: Bodies, times: np.ndarray
) -> Looks:
    breaks = np.array(sorted(bodies.breaks), dtype=np.int64)
    return Looks(
        seconds=np.asarray(times, dtype=np.float64)[numbers],
        points=np.stack(points) if points else np.zeros((0, 0, 2)),
        confidence=np.stack(confidence) if confidence else np.zeros((0, 0)),
        person=np.searchsorted(breaks, numbers, side="right"),
    )


def _joined(pose: Pose, hands: tuple[Hand, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Points [33, 2] and confidence [33] of a pose with what its hands know better."""
    points, confidence = pose.points.copy(), pose.confidence.copy()
    for hand in hands:
        points[list(_OF_POSE[hand.side])] = hand.points[list(_OF_HAND)]
        confidence[list(_OF_POSE[hand.side])] = hand.score
    return points, confidence


def between(looks: Looks, values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """``values`` [N, ...] of the looks at every one of ``times`` [T] seconds: [T, ...].

    Linear between neighbours. Where nothing was seen (more than ``HOLD_SECONDS`` before the first or after the last,
    between two people, in gaps longer than ``GAP_SECONDS``) the nearest look is held and its confidence, the last
    channel, is zero.
    """
    at = looks.seconds
    right = np.clip(np.searchsorted(at, times), 0, len(at) - 1)
    left = np.clip(np.where(at[right] <= times, right, right - 1), 0, len(at) - 1)
    span = at[right] - at[left]
    share = np.clip(np.divide(times - at[left], span, out=np.zeros(len(times)), where=span > 0), 0, 1)
    apart = (looks.person[left] != looks.person[right]) | (span > GAP_SECONDS)
    share = np.where(apart, np.round(share), share).reshape(-1, *([1] * (values.ndim - 1)))
    dense = values[left] * (1 - share) + values[right] * share
    beyond = (times < at[0] - HOLD_SECONDS) | (times > at[-1] + HOLD_SECONDS)
    unseen = beyond | (apart & (times > at[left]) & (times < at[right]))
    dense[unseen, ..., -1] = 0.0
    return np.asarray(dense)
