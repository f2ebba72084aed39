"""From boxes found now and then to boxes that cover every frame between: tracks, bridged and held.

Laws (held by property tests): the cover of a frame between two detections of a track contains the box interpolated
between them; the cover of a detected frame contains the detection; a hold contains the end box.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deemo_dist.deid import geometry

NEAR = 1.0
FASTEST = 0.125


@dataclass(frozen=True)
class Track:
    """One face over time: ``frames`` int64 [N] ascending, ``boxes`` float64 [N, 4]."""

    frames: np.ndarray
    boxes: np.ndarray


def link(found: Mapping[int, np.ndarray], *, max_gap: int, cuts: Sequence[int] = ()) -> list[Track]:
    """Join detections (frame -> boxes [N, 4]) into tracks: the nearest pairs first, by overlap, then by distance of the
    centres in units of size. A track not seen for more than ``max_gap`` frames ends, and so it does at one of ``cuts``
    (frames that begin another scene)."""
    scenes: dict[int, dict[int, np.ndarray]] = {}
    for frame in sorted(found):
        scenes.setdefault(bisect_right(cuts, frame), {})[frame] = found[frame]
    return [track for scene in scenes.values() for track in _linked(scene, max_gap)]


def _linked(found: Mapping[int, np.ndarray], max_gap: int) -> list[Track]:
    """The tracks of one scene."""
    tracks: list[list[tuple[int, np.ndarray]]] = []
    for frame in sorted(found):
        boxes = np.asarray(found[frame], dtype=np.float64).reshape(-1, 4)
        alive = [number for number, track in enumerate(tracks) if frame - track[-1][0] <= max_gap]
        taken = matched(np.array([tracks[number][-1][1] for number in alive]).reshape(-1, 4), boxes)
        for place, box in enumerate(boxes):
            if place in taken:
                tracks[alive[taken[place]]].append((frame, box))
            else:
                tracks.append([(frame, box)])
    return [
        Track(frames=np.array([item[0] for item in track]), boxes=np.stack([item[1] for item in track]))
        for track in tracks
    ]


def matched(last: np.ndarray, boxes: np.ndarray) -> dict[int, int]:
    """Pair each of ``boxes`` with at most one of ``last``, best first: {number in boxes: number in last}."""
    if not len(last) or not len(boxes):
        return {}
    centres = [(item[:, :2] + item[:, 2:]) / 2 for item in (last, boxes)]
    size = np.sqrt(np.maximum(geometry.area(last), 1.0))[:, None]
    distance = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=-1) / size
    score = geometry.iou(last, boxes) + np.clip(NEAR - distance, 0, None) * 0.5
    pairs: dict[int, int] = {}
    used: set[int] = set()
    for flat in np.argsort(-score, axis=None, kind="stable"):
        track, box = divmod(int(flat), len(boxes))
        if score[track, box] <= 0:
            break
        if track not in used and box not in pairs:
            used.add(track)
            pairs[box] = track
    return pairs


def cover(tracks: list[Track], *, frames: int, dilate: float, hold: int) -> list[np.ndarray]:
    """The boxes that cover each of ``frames`` frames: a list of float64 [N, 4].

    At and between detections: the union of the two neighbouring boxes (of three at a detection), dilated. ``hold``
    frames before the first and after the last: the end box united with where its motion would carry it, dilated twice.
    """
    covered: list[list[np.ndarray]] = [[] for _ in range(frames)]
    for track in tracks:
        for frame, box in _inside(track):
            covered[frame].append(geometry.dilate(box, dilate))
        for frame, box in _held(track, frames, hold):
            covered[frame].append(geometry.dilate(box, 2 * dilate))
    return [np.array(boxes, dtype=np.float64).reshape(-1, 4) for boxes in covered]


def _inside(track: Track) -> list[tuple[int, np.ndarray]]:
    """(frame, box) from the first to the last detection."""
    joined = geometry.union(track.boxes[:-1], track.boxes[1:])
    result: list[tuple[int, np.ndarray]] = []
    for number, frame in enumerate(track.frames):
        around = track.boxes[max(0, number - 1) : number + 2]
        result.append((int(frame), np.concatenate([around[:, :2].min(0), around[:, 2:].max(0)])))
        if number + 1 < len(track.frames):
            result += [(between, joined[number]) for between in range(int(frame) + 1, int(track.frames[number + 1]))]
    return result


def _held(track: Track, frames: int, hold: int) -> list[tuple[int, np.ndarray]]:
    """(frame, box) before the first and after the last detection."""
    first, last = int(track.frames[0]), int(track.frames[-1])
    before = geometry.union(track.boxes[0], track.boxes[0] - _motion(track, 0, 1) * hold)
    after = geometry.union(track.boxes[-1], track.boxes[-1] + _motion(track, -2, -1) * hold)
    return [(frame, before) for frame in range(max(0, first - hold), first)] + [
        (frame, after) for frame in range(last + 1, min(frames, last + 1 + hold))
    ]


def _motion(track: Track, earlier: int, later: int) -> np.ndarray:
    """Pixels a frame by which the centre moves between two detections: [4] (x, y, x, y), at most ``FASTEST`` of the
    box's size, so that one bad detection does not mask the whole frame."""
    if len(track.frames) < 2:
        return np.zeros(4)
    steps = int(track.frames[later] - track.frames[earlier])
    centre = (track.boxes[:, :2] + track.boxes[:, 2:]) / 2
    size = (track.boxes[later, 2:] - track.boxes[later, :2]) * FASTEST
    return np.tile(np.clip((centre[later] - centre[earlier]) / steps, -size, size), 2)
