"""Who is in the clip: poses of the main person over time, and the heads of everybody."""

from dataclasses import dataclass

import numpy as np

from deemo_dist.deid import geometry
from deemo_dist.deid.body.pose import PersonDetector, Pose, PoseTracker, Region, head_box

POSE_RATE = 3.0
PEOPLE_SECONDS = 2.0


@dataclass(frozen=True)
class Bodies:
    """``poses`` of the main person by frame, ``heads`` of everybody by frame (float64 [N, 4])."""

    poses: dict[int, Pose]
    heads: dict[int, np.ndarray]


def sampled(frames: int, every: int) -> list[int]:
    """Frame numbers 0, every, 2 every, ... and the last."""
    return sorted({*range(0, frames, every), frames - 1}) if frames > 0 else []


def find_bodies(frames: np.ndarray, people: PersonDetector, tracker: PoseTracker, *, fps: float, every: int) -> Bodies:
    """Poses of the main person at ``POSE_RATE`` (at least at every ``every``-th frame), all heads now and then."""
    stride = max(1, min(every, round(fps / POSE_RATE)))
    looks = sampled(len(frames), stride)
    census = {looks[int(np.searchsorted(looks, number))] for number in sampled(len(frames), count(fps, PEOPLE_SECONDS))}
    region: Region | None = None
    poses: dict[int, Pose] = {}
    heads: dict[int, np.ndarray] = {}
    for number in looks:
        others = np.zeros((0, 4))
        if region is None or number in census:
            others, regions = people(frames[number])
            region = region or (regions[0] if regions else None)
        tracked = tracker(frames[number], region) if region else None
        region = tracked[1] if tracked else None
        if tracked:
            poses[number] = tracked[0]
        heads[number] = _heads(tracked[0] if tracked else None, others)
    return Bodies(poses=poses, heads=heads)


def _heads(pose: Pose | None, others: np.ndarray) -> np.ndarray:
    """The main person's head box, and the detector's boxes that are not on it: float64 [N, 4]."""
    if pose is None:
        return others
    main = head_box(pose)[None]
    return np.concatenate([main, others[geometry.intersection(others, main)[:, 0] == 0]])


def count(fps: float, seconds: float) -> int:
    """Whole frames in ``seconds``, at least one."""
    return max(1, int(np.ceil(fps * seconds)))
