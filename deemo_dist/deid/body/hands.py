"""Hands: 21 landmarks of each hand that is large enough in the picture to be worth the time.

A hand is looked for where its wrist is by the pose, and where it was before; the palm detector is asked only about
close-ups, whose arms the pose cannot see. Zhang et al. 2020 (arXiv 2006.10214); weights and decoding of MediaPipe
0.10.14 (palm_detection_lite, hand_landmark_lite).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from deemo_dist.deid import geometry, runtime
from deemo_dist.deid.body.pose import Pose, Region, crop, head_box

LANDMARKS = 21
PALM_SIDE = 192
LANDMARK_SIDE = 224
PRESENT = 0.5
SMALLEST = 96.0
"""Pixels that the square around a hand must have on a side (the hand itself is about half as long)."""

CLOSE_UP = 150.0
"""Pixels of a head's height from which on hands are looked for without a wrist of the pose."""

PALM_SECONDS = 0.5
LEFT, RIGHT = 0, 1
_WRISTS, _PINKIES, _INDEXES = (15, 16), (17, 18), (19, 20)  # of a pose, left and right
_PALM = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)  # landmarks that place the next region
_PIPS = (6, 10, 14)


@dataclass(frozen=True)
class Hand:
    """One hand in one frame: ``points`` float64 [21, 2] in pixels, ``score`` 0 to 1, ``side`` 0 left, 1 right."""

    points: np.ndarray
    score: float
    side: int


class PalmDetector:
    """MediaPipe's palm detector: regions of hands, the surest first."""

    def __init__(self) -> None:
        self._network = runtime.tflite("palm-lite")
        self._anchors = runtime.ssd_anchors(PALM_SIDE, (8, 16, 16, 16))

    def __call__(self, frame: np.ndarray) -> list[Region]:
        """Regions of the hands in a uint8 frame [H, W, 3]."""
        square, scale, left, top = runtime.letterbox(frame, PALM_SIDE)
        outputs = self._network(square.astype(np.float32) / 255.0)
        scores = runtime.sigmoid(outputs["Identity_1"][:, 0])
        sure = scores >= PRESENT
        points = outputs["Identity"][sure].astype(np.float64).reshape(-1, 9, 2)
        anchors = self._anchors[sure] * PALM_SIDE
        centre, size = points[:, 0] + anchors, points[:, 1]
        boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
        offset = np.array([left, top])
        regions = []
        for number in geometry.suppress(boxes, scores[sure], 0.3):
            wrist, knuckle = (points[number, [2, 4]] + anchors[number] - offset) / scale
            middle = (centre[number] - offset) / scale
            regions.append(_region(middle, float(size[number].max()) / scale, knuckle - wrist, scale=2.6, shift=0.5))
        return regions


class HandTracker:
    """Landmarks of a hand in a region of the frame."""

    def __init__(self) -> None:
        self._network = runtime.tflite("hand-lite", ("Identity", "Identity_1", "Identity_2"))

    def __call__(self, frame: np.ndarray, region: Region) -> Hand | None:
        """The hand in ``region``; None where there is none."""
        if not SMALLEST / 2 <= region.side <= 4.0 * max(frame.shape[:2]):
            return None
        image, matrix = crop(frame, region, LANDMARK_SIDE)
        outputs = self._network(image.astype(np.float32) / 255.0)
        score = float(outputs["Identity_1"][0])
        if score < PRESENT:
            return None
        raw = outputs["Identity"].reshape(LANDMARKS, 3)[:, :2].astype(np.float64)
        points = raw @ matrix[:, :2].T + matrix[:, 2]
        # the network was trained on mirrored pictures: its first class, "left", is the right hand of a plain picture
        return Hand(points=points, score=score, side=RIGHT if float(outputs["Identity_2"][0]) >= 0.5 else LEFT)


class HandFollower:
    """The main person's hands from look to look, in one clip."""

    def __init__(self, palms: PalmDetector, tracker: HandTracker) -> None:
        self._palms, self._tracker = palms, tracker
        self._last: dict[int, Hand] = {}
        self._asked = -np.inf

    def __call__(self, time: float, frame: np.ndarray, pose: Pose) -> tuple[Hand, ...]:
        """The hands in a frame (uint8 [H, W, 3]) at ``time`` seconds, the left one first."""
        found: dict[int, Hand] = {}
        for side in (LEFT, RIGHT):
            hand = self._again(frame, pose, side) or self._at_wrist(frame, pose, side)
            if hand and not any(_same(hand, other) for other in found.values()):
                found[side] = hand
        if len(found) < 2 and _close_up(pose) and abs(time - self._asked) >= PALM_SECONDS:
            self._asked = time
            for hand in self._seen(frame, pose):
                if len(found) < 2 and not any(_same(hand, other) for other in found.values()):
                    side = hand.side if hand.side not in found else 1 - hand.side
                    found[side] = replace(hand, side=side)
        self._last = found
        return tuple(found[side] for side in sorted(found))

    def _again(self, frame: np.ndarray, pose: Pose, side: int) -> Hand | None:
        """The hand where it was, unless the pose is sure that it went elsewhere."""
        last = self._last.get(side)
        if last is None:
            return None
        region, wrist = hand_region(last), pose.points[_WRISTS[side]]
        away = np.hypot(region.x - wrist[0], region.y - wrist[1]) > region.side
        if away and pose.confidence[_WRISTS[side]] >= PRESENT:
            return None
        hand = self._tracker(frame, region)
        return replace(hand, side=side) if hand and _belongs(hand, pose) else None

    def _at_wrist(self, frame: np.ndarray, pose: Pose, side: int) -> Hand | None:
        region = wrist_region(pose, side)
        hand = self._tracker(frame, region) if region else None
        hand = self._tracker(frame, hand_region(hand)) if hand else None  # once more, with a region that fits
        return replace(hand, side=side) if hand else None

    def _seen(self, frame: np.ndarray, pose: Pose) -> Iterator[Hand]:
        """Hands that the palm detector finds, as far as they can be this person's."""
        for region in self._palms(frame):
            hand = self._tracker(frame, region)
            if hand and _belongs(hand, pose):
                yield hand


def _close_up(pose: Pose) -> bool:
    """A head so large that hands are worth looking for, of a body whose wrists the pose does not see."""
    box = head_box(pose)
    unseen = min(pose.confidence[wrist] for wrist in _WRISTS) < PRESENT
    return bool(box[3] - box[1] >= CLOSE_UP and unseen)


def _belongs(hand: Hand, pose: Pose) -> bool:
    """Whether a hand's size and place can be this person's: in proportion to the head, and within an arm's reach."""
    box = head_box(pose)
    height = box[3] - box[1]
    low, high = hand.points.min(axis=0), hand.points.max(axis=0)
    reach = np.hypot(*((low + high) / 2 - (box[:2] + box[2:]) / 2))
    return bool(0.15 * height <= max(high - low) <= 1.2 * height and reach <= 3.5 * height)


def _same(first: Hand, second: Hand) -> bool:
    """Whether two findings are one hand."""
    apart = np.hypot(*(first.points.mean(axis=0) - second.points.mean(axis=0)))
    return bool(apart < 0.4 * max(np.ptp(first.points, axis=0).max(), np.ptp(second.points, axis=0).max()))


def wrist_region(pose: Pose, side: int) -> Region | None:
    """Where the pose says that a hand is; None where it does not know, or where the hand is too small."""
    wrist, pinky, index = (pose.points[points[side]] for points in (_WRISTS, _PINKIES, _INDEXES))
    if pose.confidence[_WRISTS[side]] < PRESENT:
        return None
    knuckles = (2 * index + pinky) / 3
    region = _region(knuckles, float(np.hypot(*(knuckles - wrist))), knuckles - wrist, scale=3.0, shift=0.0)
    return region if region.side >= SMALLEST else None


def hand_region(hand: Hand) -> Region:
    """Where to look for a hand that was seen a moment ago."""
    direction = hand.points[list(_PIPS)].mean(axis=0) - hand.points[0]
    along = direction / max(float(np.hypot(*direction)), 1e-6)
    axes = np.stack([np.array([-along[1], along[0]]), along])
    turned = hand.points[list(_PALM)] @ axes.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    return _region((low + high) / 2 @ axes, float((high - low).max()), direction, scale=2.0, shift=0.1)


def _region(middle: np.ndarray, size: float, direction: np.ndarray, *, scale: float, shift: float) -> Region:
    """A square of ``scale`` times ``size``, moved by ``shift`` sizes towards the fingers, which point up in it."""
    along = direction / max(float(np.hypot(*direction)), 1e-6)
    x, y = middle + shift * size * along
    return Region(x=float(x), y=float(y), side=scale * size, angle=float(np.arctan2(along[0], -along[1])))
