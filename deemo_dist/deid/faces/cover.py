"""Where faces and heads are in every frame of a clip: detections now and then, tracked, bridged, held.

Two sources, each with tracks of its own: CenterFace every K frames (and on every frame where a track begins, ends or
was lost), and heads placed by the body's pose, which also sees heads turned away.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from deemo_dist.config import PolicyConfig
from deemo_dist.deid import geometry
from deemo_dist.deid.body.people import Bodies, count, sampled
from deemo_dist.deid.body.pose import Pose, head_box
from deemo_dist.deid.faces import masking
from deemo_dist.deid.faces.detectors import FaceDetector
from deemo_dist.deid.faces.tracks import Track, cover, link

HOLD_SECONDS = 0.4
GAP_SECONDS = 2.0
SURE_HEAD = 0.5
HEAD_DILATE = 0.05  # a head box is wide already: it has to cover motion only


@dataclass(frozen=True)
class Cover:
    """What to mask. ``regions``: int64 [N, 4] pixels a frame; ``face_frames``: frames in which a face's track runs;
    ``detected``: frames in which the detector saw a face; ``uncertain``: frames with a body whose head is not clear."""

    regions: list[np.ndarray]
    face_frames: int
    detected: frozenset[int]
    uncertain: int
    tracks: int


def find_faces(frames: np.ndarray, detector: FaceDetector, *, every: int) -> dict[int, np.ndarray]:
    """Face boxes by frame looked at. Where the number of faces changes, the frames between are looked at as well."""
    found = {number: detector(frames[number])[0] for number in sampled(len(frames), every)}
    looked = sorted(found)
    for before, after in itertools.pairwise(looked):
        if len(found[before]) != len(found[after]):
            found |= {number: detector(frames[number])[0] for number in range(before + 1, after)}
    return found


def cover_clip(
    found: dict[int, np.ndarray],
    bodies: Bodies,
    policy: PolicyConfig,
    *,
    frames: int,
    fps: float,
    size: tuple[int, int],
) -> Cover:
    """Put both sources together. ``size``: width, height in pixels."""
    hold = max(policy.hold_frames, count(fps, HOLD_SECONDS)) + policy.detect_every - 1
    gap = max(2 * hold, count(fps, GAP_SECONDS))
    face_tracks = link(found, max_gap=gap)
    head_tracks = link(bodies.heads, max_gap=gap) if policy.mask_heads else []
    faces = cover(face_tracks, frames=frames, dilate=policy.dilate, hold=hold)
    heads = cover(head_tracks, frames=frames, dilate=HEAD_DILATE, hold=hold)
    both = [np.concatenate(pair) for pair in zip(faces, heads, strict=True)]
    return Cover(
        regions=masking.pixel_boxes(both, *size),
        face_frames=_frames_inside(face_tracks),
        detected=frozenset(number for number, boxes in found.items() if len(boxes)),
        uncertain=sum(_unclear(pose, faces[number], policy, size) for number, pose in bodies.poses.items()),
        tracks=len(face_tracks),
    )


def _unclear(pose: Pose, faces: np.ndarray, policy: PolicyConfig, size: tuple[int, int]) -> bool:
    """A body whose head should be in the frame, without a face there, and (where heads are masked by pose) without
    landmarks sure enough to say where the head is."""
    box = head_box(pose)[None]
    frame = np.array([[0, 0, *size]], dtype=np.float64)
    outside = geometry.intersection(box, frame)[0, 0] < 0.25 * geometry.area(box)[0]
    if outside or (len(faces) and geometry.intersection(box, faces).max() > 0):
        return False
    return not policy.mask_heads or float(pose.facial()[1].mean()) < SURE_HEAD


def _frames_inside(tracks: Iterable[Track]) -> int:
    return len({number for track in tracks for number in range(int(track.frames[0]), int(track.frames[-1]) + 1)})
