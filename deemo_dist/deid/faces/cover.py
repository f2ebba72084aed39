"""Where faces, heads and burnt-in text are in every frame of a clip: tracked, bridged, held, put together.

Two sources of faces, each with tracks of its own: the face detector's looks, and heads placed by the body's pose, which
also sees heads turned away.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from deemo_dist.config import PolicyConfig
from deemo_dist.deid import geometry
from deemo_dist.deid.body.people import Bodies
from deemo_dist.deid.body.pose import Pose, head_box
from deemo_dist.deid.faces import masking
from deemo_dist.deid.faces.company import IN_FRAME, OWN_SHARE, unclear_spans
from deemo_dist.deid.faces.scan import FaceTracks
from deemo_dist.deid.faces.tracks import Hold, Track, cover, holds, link

HOLD_SECONDS = 0.4
GAP_SECONDS = 2.0
SURE_HEAD = 0.5
FAINT = 24.0  # pixels: real faces of 16 px are missed in one finer look of a few, those of 24 px were not
HEAD_DILATE = 0.05  # a head box is wide already: it has to cover motion only
MOST = 0.6  # of a picture: a face or head that is masked over so much of it is masked with all of it
QUICKEST = 5.0  # percentile of frame intervals that a clip's rate is taken from


@dataclass(frozen=True)
class Cover:
    """What to mask. ``regions``: int64 [N, 4] pixels a frame; ``face_frames``: frames in which a face's track runs;
    ``detected``: frames in which the detector saw a face; ``uncertain``: poses of a body whose head is not clear;
    ``caption_frames``: frames with burnt-in text; ``dark_frames``: frames too dark to find anybody, masked whole;
    ``filled_frames``: frames masked whole since a face or head fills them; ``unclear_spans``: looks that leave it
    unclear where somebody's head is beside the main person, or where somebody went; ``unclear_frames``: frames around
    these and around uncertain poses (under ``uncertain: frame`` masked whole)."""

    regions: list[np.ndarray]
    face_frames: int
    detected: frozenset[int]
    uncertain: int
    tracks: int
    caption_frames: int = 0
    dark_frames: int = 0
    filled_frames: int = 0
    unclear_spans: int = 0
    unclear_frames: int = 0


def cover_clip(
    faces: FaceTracks,
    bodies: Bodies,
    captions: Sequence[np.ndarray],
    policy: PolicyConfig,
    *,
    times: np.ndarray,
    size: tuple[int, int],
) -> Cover:
    """Put all sources together. ``captions``: boxes float64 [N, 4] by frame, or nothing; ``times``: float64 [T]
    seconds; ``size``: width, height in pixels.

    Spans in seconds are counted in the clip's quickest frames, so that under a variable rate they only grow longer.
    """
    frames, rate = len(times), quickest_rate(times)
    hold = max(policy.hold_frames, _count(rate, HOLD_SECONDS)) + policy.detect_every - 1
    gap = max(2 * hold, _count(rate, GAP_SECONDS))
    face_tracks = link(faces.boxes, max_gap=gap, cuts=faces.cuts)
    held = [_face_hold(track, faces, hold, frames, size) for track in face_tracks]
    found = cover(face_tracks, frames=frames, dilate=policy.dilate, held=held)
    nothing = [np.zeros((0, 4))] * frames
    heads = _heads(bodies, faces.cuts, hold=hold, gap=gap, frames=frames) if policy.mask_heads else nothing
    texts = captions or nothing
    unclear = [number for number, pose in bodies.poses.items() if _unclear(pose, found[number], policy, size)]
    spans = unclear_spans(bodies, found, faces.cuts, gap=gap, size=size)
    around = _around(unclear, bodies, frames).union(*spans)
    filled = {number for number, boxes in enumerate(zip(found, heads, strict=True)) if _filled(boxes, size)}
    hidden = around if policy.uncertain == "frame" else set()
    whole = _whole_frames({*hidden, *faces.dark, *filled}, frames, size)
    every = [np.concatenate(boxes) for boxes in zip(found, heads, texts, whole, strict=True)]
    return Cover(
        regions=masking.pixel_boxes(every, *size),
        face_frames=_frames_inside(face_tracks),
        detected=frozenset(number for number, boxes in faces.boxes.items() if len(boxes)),
        uncertain=len(unclear),
        tracks=len(face_tracks),
        caption_frames=sum(len(boxes) > 0 for boxes in texts),
        dark_frames=len(faces.dark),
        filled_frames=len(filled),
        unclear_spans=len(spans),
        unclear_frames=len(around),
    )


def _filled(boxes: Sequence[np.ndarray], size: tuple[int, int]) -> bool:
    """Whether any of ``boxes`` (float64 [N, 4] each) covers most of a picture of ``size``."""
    return any(bool(geometry.fills(each, *size, least=MOST).any()) for each in boxes)


def _face_hold(track: Track, faces: FaceTracks, least: int, frames: int, size: tuple[int, int]) -> Hold:
    """A face that is too small for the scaled copy where its track begins or ends is held from one finer look to the
    next there: it may have come or gone at any time between. One so small that a finer look may miss it too is held
    over one more. One that fills the picture is held from one look from afar to the next."""
    sides = (track.boxes[[0, -1], 2:] - track.boxes[[0, -1], :2]).max(axis=1)
    far = [holds(track, least, faces.fine, frames=frames, missed=int(side < FAINT)) for side in sides]
    fine = (far[0][0] if sides[0] < faces.small else least, far[1][1] if sides[1] < faces.small else least)
    wide = holds(track, least, faces.far, frames=frames)
    filling = geometry.fills(track.boxes[[0, -1]], *size, least=1.0)
    return (wide[0] if filling[0] else fine[0], wide[1] if filling[1] else fine[1])


def _heads(bodies: Bodies, cuts: Sequence[int], *, hold: int, gap: int, frames: int) -> list[np.ndarray]:
    """Heads by frame: the main person's and everybody else's, each held from look to look at them."""
    covered: list[list[np.ndarray]] = [[] for _ in range(frames)]
    for seen in (bodies.heads, bodies.others):
        looks, tracks = sorted(seen), link(seen, max_gap=gap, cuts=cuts)
        held = [holds(track, hold, looks, frames=frames) for track in tracks]
        for boxes, more in zip(covered, cover(tracks, frames=frames, dilate=HEAD_DILATE, held=held), strict=True):
            boxes.append(more)
    return [np.concatenate(boxes) for boxes in covered]


def quickest_rate(times: np.ndarray) -> float:
    """Frames a second where a clip is quickest (but for outliers); 1 for a single frame."""
    return 1.0 / float(np.percentile(np.diff(times), QUICKEST)) if len(times) > 1 else 1.0


def _around(unclear: Sequence[int], bodies: Bodies, frames: int) -> set[int]:
    """Frames from the pose before an ``unclear`` one to the pose after it."""
    looks = sorted(bodies.poses)
    found = set[int]()
    for number in unclear:
        place = looks.index(number)
        start = looks[place - 1] + 1 if place else 0
        stop = looks[place + 1] if place + 1 < len(looks) else frames
        found.update(range(start, stop))
    return found


def _whole_frames(numbers: Collection[int], frames: int, size: tuple[int, int]) -> list[np.ndarray]:
    """By frame, a box of the whole frame for those in ``numbers``."""
    whole, none = np.array([[0, 0, *size]], dtype=np.float64), np.zeros((0, 4))
    return [whole if number in numbers else none for number in range(frames)]


def _unclear(pose: Pose, faces: np.ndarray, policy: PolicyConfig, size: tuple[int, int]) -> bool:
    """A body whose head should be in the frame, without a face of its own there, and (where heads are masked by pose)
    without landmarks sure enough to say where the head is."""
    box = head_box(pose)[None]
    frame = np.array([[0, 0, *size]], dtype=np.float64)
    if geometry.intersection(box, frame)[0, 0] < IN_FRAME * geometry.area(box)[0] or _own_face(pose, box, faces):
        return False
    return not policy.mask_heads or float(pose.facial()[1].mean()) < SURE_HEAD


def _own_face(pose: Pose, head: np.ndarray, faces: np.ndarray) -> bool:
    """Whether a masked face [N, 4] is the head's ([1, 4]): the middle of its features is inside, and a good part of the
    head."""
    middle = pose.facial()[0].mean(axis=0)[None]
    shared = geometry.intersection(head, faces)[0] / geometry.area(head)[0]
    return any(
        share >= OWN_SHARE and geometry.within(middle, face[None])[0] for face, share in zip(faces, shared, strict=True)
    )


def _frames_inside(tracks: Iterable[Track]) -> int:
    return len({number for track in tracks for number in range(int(track.frames[0]), int(track.frames[-1]) + 1)})


def _count(rate: float, seconds: float) -> int:
    """Whole frames in ``seconds``, at least one."""
    return max(1, int(np.ceil(rate * seconds - 1e-6)))
