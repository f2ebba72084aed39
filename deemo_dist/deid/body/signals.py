"""What the hands do, as numbers over time that the rules of an NFBL ontology can name.

Taken before masking and before normalisation, since a hand at the face is known by the face. Lengths in shoulder
widths, or in half widths of the head where a signal says so. None of it is stored.
"""

from collections.abc import Mapping

import numpy as np

from deemo_dist.deid.body.cues import shoulder_widths
from deemo_dist.deid.body.people import Bodies
from deemo_dist.deid.body.pose import head_boxes
from deemo_dist.deid.body.tracks import between, body_looks, hand_looks

SIGNALS: Mapping[str, str] = {
    "head": "distance of the hand from the middle of the head, in half widths of the head's box: 1 is on its edge",
    "neck": "distance of the hand from the neck",
    "height": "how far the hand is above the shoulders",
    "outward": "how far the wrist is outside its own shoulder",
    "across": "how far the wrist is across the middle of the body",
    "together": "distance between the two hands",
    "arm": "distance of the hand from the other arm, but for its lower forearm: clasped hands do not hold arms",
    "speed": "shoulder widths a second",
    "restless": "movement to and fro about where the hand is, in shoulder widths a second",
    "travel": "how far the place of the hand changes within a second",
    "curled": "fingers bent into the palm: 0 straight, 1 a fist; only of hands large enough, else not known",
    "visible": "confidence of the wrist",
    "arms": "confidence of the elbow: low where the arms are outside the picture",
}
WINDOW_SECONDS = 1.0
FINGER_TIPS, FINGER_ROOTS = (8, 12, 16, 20), (5, 9, 13, 17)
_ARMS = ((11, 13, 15), (12, 14, 16))  # shoulder, elbow, wrist of the left and the right arm
_KNUCKLES = ((17, 19), (18, 20))


def signals(bodies: Bodies, times: np.ndarray) -> dict[str, np.ndarray]:
    """Every signal of ``SIGNALS`` at ``times`` (float64 [T] seconds): float64 [T, 2], left and right hand; NaN where it
    is not known. Empty where nobody was seen."""
    times = np.asarray(times, dtype=np.float64)
    looks = body_looks(bodies, times)
    if not len(looks.seconds) or not len(times):
        return {}
    track = between(looks, np.concatenate([looks.points, looks.confidence[..., None]], axis=-1), times)
    points, sure = track[..., :2], track[..., 2]
    sides = [_of_hand(points, times, side) for side in (0, 1)]
    named = {name: np.stack([side[name] for side in sides], axis=1) for name in sides[0]}
    named["curled"] = np.stack([_curled(bodies, times, side) for side in (0, 1)], axis=1)
    named["visible"] = sure[:, [arm[2] for arm in _ARMS]]
    named["arms"] = sure[:, [arm[1] for arm in _ARMS]]
    return named


def _of_hand(points: np.ndarray, times: np.ndarray, side: int) -> dict[str, np.ndarray]:
    """The signals of one hand from landmarks [T, 33, 2]: [T] each."""
    own, other = _ARMS[side], _ARMS[1 - side]
    width = shoulder_widths(points[:, 11], points[:, 12])[:, 0]
    middle = (points[:, 11] + points[:, 12]) / 2
    boxes = head_boxes(points)
    head, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    wrist, knuckles, tip = _hand(points, side)
    _, others, _ = _hand(points, 1 - side)
    touch = np.stack([knuckles, tip], axis=1)
    outside = np.sign(points[:, own[0], 0] - points[:, other[0], 0])
    moved = _movement((knuckles - middle) / width, times)
    return moved | {
        "head": np.linalg.norm((touch - head[:, None]) / half[:, None], axis=-1).min(axis=1),
        "neck": np.linalg.norm((touch - (middle + 0.3 * (head - middle))[:, None]) / width[:, None], axis=-1).min(
            axis=1
        ),
        "height": (middle - knuckles)[:, 1] / width[:, 0],
        "outward": outside * (wrist - points[:, own[0]])[:, 0] / width[:, 0],
        "across": -outside * (wrist - middle)[:, 0] / width[:, 0],
        "together": np.linalg.norm((knuckles - others) / width, axis=-1),
        "arm": np.minimum(
            _to_segment(knuckles, points[:, other[0]], points[:, other[1]]),
            _to_segment(knuckles, points[:, other[1]], (points[:, other[1]] + points[:, other[2]]) / 2),
        )
        / width[:, 0],
    }


def _hand(points: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Wrist, middle of the knuckles, and about where straight fingers end: [T, 2] each."""
    wrist = points[:, _ARMS[side][2]]
    knuckles = points[:, _KNUCKLES[side]].mean(axis=1)
    return wrist, knuckles, wrist + 1.8 * (knuckles - wrist)


def _to_segment(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Distance [T] of points [T, 2] from segments."""
    along = end - start
    share = ((point - start) * along).sum(axis=-1) / np.maximum((along**2).sum(axis=-1), 1e-9)
    return np.asarray(np.linalg.norm(point - start - np.clip(share, 0, 1)[:, None] * along, axis=-1))


def _movement(place: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
    """Speed, restlessness and travel [T] of a place [T, 2] in shoulder widths, over ``WINDOW_SECONDS``."""
    steps = np.diff(times)
    speed = np.linalg.norm(np.diff(place, axis=0), axis=-1) / np.maximum(steps, 1e-3)
    low = np.searchsorted(times, times - WINDOW_SECONDS / 2, side="left")
    high = np.searchsorted(times, times + WINDOW_SECONDS / 2, side="right")
    result = {name: np.zeros(len(times)) for name in ("speed", "restless", "travel")}
    for number, (start, end) in enumerate(zip(low, high, strict=True)):
        if end - start < 2:
            continue
        shares = steps[start : end - 1] / max(float(steps[start : end - 1].sum()), 1e-9)
        net = np.linalg.norm(place[end - 1] - place[start]) / max(float(times[end - 1] - times[start]), 1e-3)
        result["speed"][number] = float((speed[start : end - 1] * shares).sum())
        result["restless"][number] = max(0.0, result["speed"][number] - float(net))
        result["travel"][number] = float(np.ptp(place[start:end], axis=0).max())
    return result


def _curled(bodies: Bodies, times: np.ndarray, side: int) -> np.ndarray:
    """How far the fingers of a hand are bent: [T], NaN where no hand was seen."""
    looks = hand_looks(bodies, times, side)
    if not len(looks.seconds):
        return np.full(len(times), np.nan)
    points = looks.points
    palm = np.maximum(np.linalg.norm(points[:, 9] - points[:, 0], axis=-1), 1e-6)
    tips = np.linalg.norm(points[:, FINGER_TIPS] - points[:, :1], axis=-1)
    roots = np.linalg.norm(points[:, FINGER_ROOTS] - points[:, :1], axis=-1)
    straight = np.median((tips - roots) / palm[:, None], axis=1)  # about 0.9 straight, 0 or less in a fist
    values = np.stack([np.clip(1 - straight / 0.6, 0, 1), looks.confidence[:, 0]], axis=-1)[:, None]
    dense = between(looks, values, times)[:, 0]
    return np.where(dense[:, 1] > 0, dense[:, 0], np.nan)
