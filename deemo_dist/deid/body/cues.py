"""Body cues: keypoints over time that say what the body does, and little of whose body it is.

Facial landmarks are dropped. Points are relative to the mid-shoulder point in units of shoulder width (of a hand: to
its wrist, in lengths of its palm), and each limb and finger is scaled to a canonical length along the chain, so that
proportions (a biometric) do not survive.
"""

import numpy as np

from deemo_dist.deid.body.people import Bodies
from deemo_dist.deid.body.pose import FACIAL, LANDMARKS
from deemo_dist.deid.body.tracks import Looks, between, body_looks, hand_looks

KEYPOINTS = LANDMARKS - FACIAL
HAND_KEYPOINTS = 2 * 21
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 0, 1, 12, 13
# (parent, child, length in shoulder widths), parents first; indices are BlazePose's less 11
_SIDE_BONES = ((0, 2, 0.85), (2, 4, 0.75), (4, 6, 0.25), (4, 8, 0.25), (4, 10, 0.15))
_LEG_BONES = ((12, 14, 1.25), (14, 16, 1.2), (16, 18, 0.2), (16, 20, 0.4))
BONES = tuple(
    (parent + side, child + side, length) for side in (0, 1) for parent, child, length in _SIDE_BONES + _LEG_BONES
)
# (parent, child, length in palms: wrist to middle knuckle), parents first
FINGERS = (
    (0, 1, 0.40), (1, 2, 0.45), (2, 3, 0.35), (3, 4, 0.30),
    (0, 5, 1.00), (5, 6, 0.45), (6, 7, 0.28), (7, 8, 0.22),
    (0, 9, 1.00), (9, 10, 0.50), (10, 11, 0.32), (11, 12, 0.24),
    (0, 13, 0.95), (13, 14, 0.45), (14, 15, 0.30), (15, 16, 0.23),
    (0, 17, 0.90), (17, 18, 0.36), (18, 19, 0.22), (19, 20, 0.20),
)  # fmt: skip
TORSO_LENGTH = 1.5
HIP_WIDTH = 0.65
STRETCH = (0.7, 1.4)
REFERENCE = 90.0
IN_SIGHT = 0.1
"""Confidence below which a point is not in the picture. Where the network puts it then says nothing of the gesture, but
says whose body it is: without these points fewer of the generated subjects are told apart."""

LIMIT = 16.0  # units: beyond lies only what the network made up


def cues(bodies: Bodies, times: np.ndarray) -> np.ndarray:
    """Body cues of every frame: float16 [T, 22, 3] of x, y (shoulder widths about the mid-shoulder point, y down) and
    confidence; a point out of sight is 0 with its confidence, all are where nobody was seen. ``times``: float64 [T]
    seconds of the frames."""
    looks = body_looks(bodies, times)
    if not len(looks.seconds):
        return np.zeros((len(times), KEYPOINTS, 3), dtype=np.float16)
    placed = np.concatenate(
        [canonical(normalised(looks.points[looks.person == one, FACIAL:])) for one in np.unique(looks.person)]
    )
    return _stored(looks, placed, looks.confidence[:, FACIAL:], times)


def hand_cues(bodies: Bodies, times: np.ndarray) -> np.ndarray | None:
    """Hand cues of every frame: float16 [T, 42, 3], left hand first, of x, y (palms about the wrist, y down) and
    confidence; None for a clip in which no hand was large enough."""
    if not bodies.hands:
        return None
    sides = []
    for side in (0, 1):
        looks = hand_looks(bodies, times, side)
        if len(looks.seconds):
            sides.append(_stored(looks, canonical_hands(looks.points), looks.confidence, times))
        else:
            sides.append(np.zeros((len(times), HAND_KEYPOINTS // 2, 3), dtype=np.float16))
    return np.concatenate(sides, axis=1)


def pixel_cues(bodies: Bodies, times: np.ndarray) -> np.ndarray:
    """The same keypoints before any normalisation: float32 [T, 22, 3] in pixels, to measure what it takes away. They
    tell people apart: never to be stored."""
    looks = body_looks(bodies, times)
    if not len(looks.seconds):
        return np.zeros((len(times), KEYPOINTS, 3), dtype=np.float32)
    values = np.concatenate([looks.points[:, FACIAL:], looks.confidence[:, FACIAL:, None]], axis=-1)
    return between(looks, values, times).astype(np.float32)


def _stored(looks: Looks, placed: np.ndarray, confidence: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Placed points [N, K, 2] with their confidence, at every frame: float16 [T, K, 3]; those out of sight at 0."""
    values = np.concatenate([np.clip(placed, -LIMIT, LIMIT), confidence[..., None]], axis=-1)
    dense = between(looks, values, np.asarray(times, dtype=np.float64))
    dense[..., :2] = np.where(dense[..., 2:] >= IN_SIGHT, dense[..., :2], 0.0)
    return dense.astype(np.float16)


def normalised(points: np.ndarray) -> np.ndarray:
    """Pixels [N, 22, 2] to shoulder widths about the mid-shoulder point. The width is the clip's largest usual one, so
    that turning sideways does not blow the body up."""
    middle = (points[:, LEFT_SHOULDER] + points[:, RIGHT_SHOULDER]) / 2
    return (points - middle[:, None]) / shoulder_widths(points[:, LEFT_SHOULDER], points[:, RIGHT_SHOULDER])


def shoulder_widths(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The unit of length at each of N looks, from shoulders [N, 2]: [N, 1, 1] in pixels."""
    widths = np.linalg.norm(left - right, axis=-1)
    local = np.maximum(widths, 0.6 * np.percentile(widths, REFERENCE))
    return np.asarray(np.maximum(local, 1e-6)[:, None, None])


def canonical(points: np.ndarray) -> np.ndarray:
    """Limbs scaled to canonical lengths, along the chain from the shoulders and the hips: [N, 22, 2] to the same.

    A limb's own length is its 90th percentile over the clip (foreshortening only shortens); the scale is bounded, since
    a limb that always points at the camera has no length to see.
    """
    result = points.copy()
    result[:, [LEFT_HIP, RIGHT_HIP]] = _canonical_hips(points)
    return _rescaled(points, result, BONES)


def canonical_hands(points: np.ndarray) -> np.ndarray:
    """One hand's landmarks [N, 21, 2] about its wrist, palm and fingers at canonical lengths: the same shape."""
    local = points - points[:, :1]
    palm = np.percentile(np.linalg.norm(local[:, 9], axis=-1), REFERENCE)
    local = local / max(float(palm), 1e-6)
    return _rescaled(local, local.copy(), FINGERS)


def _rescaled(points: np.ndarray, result: np.ndarray, bones: tuple[tuple[int, int, float], ...]) -> np.ndarray:
    """``result`` with each child of ``bones`` at its canonical length from its parent, directed as in ``points``."""
    for parent, child, length in bones:
        bone = points[:, child] - points[:, parent]
        result[:, child] = result[:, parent] + bone * _stretch(np.linalg.norm(bone, axis=-1), length)
    return result


def _canonical_hips(points: np.ndarray) -> np.ndarray:
    """Hips [N, 2, 2] at a canonical torso length and hip width; the shoulders' middle is the origin."""
    hips = points[:, [LEFT_HIP, RIGHT_HIP]]
    middle = hips.mean(axis=1, keepdims=True)
    half = hips - middle
    torso = middle * _stretch(np.linalg.norm(middle[:, 0], axis=-1), TORSO_LENGTH)
    return np.asarray(torso + half * _stretch(2 * np.linalg.norm(half[:, 0], axis=-1), HIP_WIDTH))


def _stretch(lengths: np.ndarray, wanted: float) -> float:
    seen = float(np.percentile(lengths, REFERENCE))
    return float(np.clip(wanted / max(seen, 1e-6), *STRETCH))
