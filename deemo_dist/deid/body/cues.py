"""Body cues: 22 keypoints over time that say what the body does, and little of whose body it is.

Facial landmarks are dropped. Points are relative to the mid-shoulder point in units of shoulder width, and each limb is
scaled to a canonical length along the chain, so that limb proportions (a biometric) do not survive.
"""

import numpy as np

from deemo_dist.deid.body.pose import FACIAL, LANDMARKS, Pose

KEYPOINTS = LANDMARKS - FACIAL
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 0, 1, 12, 13
# (parent, child, length in shoulder widths), parents first; indices are BlazePose's less 11
_SIDE_BONES = ((0, 2, 0.85), (2, 4, 0.75), (4, 6, 0.25), (4, 8, 0.25), (4, 10, 0.15))
_LEG_BONES = ((12, 14, 1.25), (14, 16, 1.2), (16, 18, 0.2), (16, 20, 0.4))
BONES = tuple(
    (parent + side, child + side, length) for side in (0, 1) for parent, child, length in _SIDE_BONES + _LEG_BONES
)
TORSO_LENGTH = 1.5
HIP_WIDTH = 0.65
STRETCH = (0.7, 1.4)
REFERENCE = 90.0


def cues(poses: dict[int, Pose], frames: int) -> np.ndarray:
    """Body cues of every frame: float16 [T, 22, 3] of x, y (shoulder widths about the mid-shoulder point, y down) and
    confidence; zeros where nobody was seen. Frames between two poses are interpolated."""
    if not poses:
        return np.zeros((frames, KEYPOINTS, 3), dtype=np.float16)
    at = np.array(sorted(poses))
    points = np.stack([poses[frame].body()[0] for frame in at])
    confidence = np.stack([poses[frame].body()[1] for frame in at])
    placed = canonical(normalised(points))
    track = np.concatenate([np.clip(placed, -16, 16), confidence[..., None]], axis=-1)
    dense = interpolated(at, track, frames)
    return dense.astype(np.float16)


def normalised(points: np.ndarray) -> np.ndarray:
    """Pixels [N, 22, 2] to shoulder widths about the mid-shoulder point. The width is the clip's largest usual one, so
    that turning sideways does not blow the body up."""
    middle = (points[:, LEFT_SHOULDER] + points[:, RIGHT_SHOULDER]) / 2
    widths = np.linalg.norm(points[:, LEFT_SHOULDER] - points[:, RIGHT_SHOULDER], axis=-1)
    local = np.maximum(widths, 0.6 * np.percentile(widths, REFERENCE))
    return (points - middle[:, None]) / np.maximum(local, 1e-6)[:, None, None]


def canonical(points: np.ndarray) -> np.ndarray:
    """Limbs scaled to canonical lengths, along the chain from the shoulders and the hips: [N, 22, 2] to the same.

    A limb's own length is its 90th percentile over the clip (foreshortening only shortens); the scale is bounded, since
    a limb that always points at the camera has no length to see.
    """
    result = points.copy()
    result[:, [LEFT_HIP, RIGHT_HIP]] = _canonical_hips(points)
    for parent, child, length in BONES:
        bone = points[:, child] - points[:, parent]
        result[:, child] = result[:, parent] + bone * _stretch(np.linalg.norm(bone, axis=-1), length)
    return result


def _canonical_hips(points: np.ndarray) -> np.ndarray:
    """Hips [N, 2, 2] at a canonical torso length and hip width; the shoulders' middle is the origin."""
    hips = points[:, [LEFT_HIP, RIGHT_HIP]]
    middle = hips.mean(axis=1, keepdims=True)
    half = hips - middle
    torso = middle * _stretch(np.linalg.norm(middle[:, 0], axis=-1), TORSO_LENGTH)
    return torso + half * _stretch(2 * np.linalg.norm(half[:, 0], axis=-1), HIP_WIDTH)


def _stretch(lengths: np.ndarray, wanted: float) -> float:
    seen = float(np.percentile(lengths, REFERENCE))
    return float(np.clip(wanted / max(seen, 1e-6), *STRETCH))


def interpolated(at: np.ndarray, values: np.ndarray, frames: int) -> np.ndarray:
    """Values [N, ...] at frames ``at`` to every frame [T, ...]: linear between neighbours; before the first and after
    the last the value is held and its confidence (the last channel) is zero."""
    every = np.arange(frames)
    right = np.clip(np.searchsorted(at, every), 0, len(at) - 1)
    left = np.clip(np.where(at[right] == every, right, right - 1), 0, len(at) - 1)
    span = np.maximum(at[right] - at[left], 1)
    share = np.clip((every - at[left]) / span, 0, 1).reshape(-1, *([1] * (values.ndim - 1)))
    dense = values[left] * (1 - share) + values[right] * share
    dense[(every < at[0]) | (every > at[-1]), ..., -1] = 0.0
    return dense
