"""From boxes found now and then to boxes that cover every frame between: tracks, bridged and held.

Laws (held by property tests): the cover of a frame between two detections of a track contains the box interpolated
between them; the cover of a detected frame contains the detection; a hold contains the end box.

What is looked for seldom is held from look to look: it may have come right after the look that did not show it yet, and
gone right before the one that shows it no more.
"""

from bisect import bisect_left, bisect_right
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


Hold = tuple[int, int]
"""Frames before a track's first detection and after its last."""


def holds(track: Track, least: int, looks: Sequence[int], *, frames: int, missed: int = 0) -> Hold:
    """``least`` frames at either end, or more: back to the last of ``looks`` (ascending frames in which the track would
    have been found) before it, and on to the first one after it; to the ends of the clip where there is none.
    ``missed``: looks that may have missed it, which are passed over."""
    first, last = int(track.frames[0]), int(track.frames[-1])
    before, after = bisect_left(looks, first) - 1 - missed, bisect_right(looks, last) + missed
    start = looks[before] if before >= 0 else 0
    end = looks[after] if after < len(looks) else frames - 1
    return max(least, first - start), max(least, end - last)


def cover(tracks: Sequence[Track], *, frames: int, dilate: float, held: Sequence[Hold]) -> list[np.ndarray]:
    """The boxes that cover each of ``frames`` frames: a list of float64 [N, 4].

    At and between detections: the union of the two neighbouring boxes (of three at a detection), dilated. The track's
    own of ``held`` before the first and after the last: the end box united with where its motion would carry it,
    dilated twice.
    """
    covered: list[list[np.ndarray]] = [[] for _ in range(frames)]
    for track, hold in zip(tracks, held, strict=True):
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


def _held(track: Track, frames: int, hold: Hold) -> list[tuple[int, np.ndarray]]:
    """(frame, box) before the first and after the last detection."""
    first, last = int(track.frames[0]), int(track.frames[-1])
    before = _carried(track.boxes[0], _motions(track, hold[0]), -hold[0])
    backwards = Track(frames=-track.frames[::-1], boxes=track.boxes[::-1])
    after = _carried(track.boxes[-1], _motions(backwards, hold[1]), -hold[1])
    return [(frame, before) for frame in range(max(0, first - hold[0]), first)] + [
        (frame, after) for frame in range(last + 1, min(frames, last + 1 + hold[1]))
    ]


def _carried(box: np.ndarray, motions: Sequence[np.ndarray], frames: int) -> np.ndarray:
    """``box`` united with where each of ``motions`` would carry it in ``frames`` frames."""
    for motion in motions:
        box = geometry.union(box, box + motion * frames)
    return box


def _motions(track: Track, hold: int) -> list[np.ndarray]:
    """How the track moves at its start, from the next detection and, for a long hold, from a later one, which one bad
    detection sways less: pixels a frame, [4] each."""
    near = int(np.searchsorted(track.frames, track.frames[0] + hold // 4))
    return [
        _motion(track, later)
        for later in sorted({1, min(near, len(track.frames) - 1)})
        if 0 < later < len(track.frames)
    ]


def _motion(track: Track, later: int) -> np.ndarray:
    """Pixels a frame by which the centre moves from the first detection to the one at ``later``: [4] (x, y, x, y), at
    most ``FASTEST`` of the box's size, so that one bad detection does not mask the whole frame."""
    steps = int(track.frames[later] - track.frames[0])
    centre = (track.boxes[:, :2] + track.boxes[:, 2:]) / 2
    size = (track.boxes[0, 2:] - track.boxes[0, :2]) * FASTEST
    return np.tile(np.clip((centre[later] - centre[0]) / steps, -size, size), 2)
