"""BlazePose: 33 body landmarks of the main person, and the heads of everybody. Must run *before* masking: it needs the
face to find the body. Facial landmarks (0 to 10) serve to place a head box and are dropped with it.

Bazarevsky et al. 2020 (arXiv 2006.10204); weights and decoding of MediaPipe 0.10.14 (pose_detection, pose_landmark).
"""

from dataclasses import dataclass

import numpy as np

from deemo_dist.deid import geometry, runtime
from deemo_dist.deid.light import lit

DETECTOR_SIDE = 224
LANDMARK_SIDE = 256
FACIAL = 11
LANDMARKS = 33
PRESENT = 0.5
MARGIN = 1.25


@dataclass(frozen=True)
class Pose:
    """One person in one frame: ``points`` float64 [33, 2] in pixels, ``confidence`` float64 [33], ``score`` 0 to 1."""

    points: np.ndarray
    confidence: np.ndarray
    score: float

    def facial(self) -> tuple[np.ndarray, np.ndarray]:
        """Points [11, 2] and confidence [11] of nose, eyes, ears, mouth: for a head box, never to be stored."""
        return self.points[:FACIAL], self.confidence[:FACIAL]

    def body(self) -> tuple[np.ndarray, np.ndarray]:
        """Points [22, 2] and confidence [22] from the shoulders down."""
        return self.points[FACIAL:], self.confidence[FACIAL:]


@dataclass(frozen=True)
class Region:
    """A rotated square of the frame: centre and side in pixels, ``angle`` in radians (0: upright)."""

    x: float
    y: float
    side: float
    angle: float


class PersonDetector:
    """MediaPipe's pose detector: whom to look at, and a head box for each person."""

    def __init__(self) -> None:
        self._network = runtime.tflite("pose-detector")
        self._anchors = runtime.ssd_anchors(DETECTOR_SIDE, (8, 16, 32, 32, 32))

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, list[Region]]:
        """(head boxes float64 [N, 4], regions of the bodies), the surest first."""
        square, scale, left, top = runtime.letterbox(frame, DETECTOR_SIDE)
        outputs = self._network(square.astype(np.float32) / 127.5 - 1.0)
        scores = runtime.sigmoid(outputs["Identity_1"][:, 0])
        sure = scores >= PRESENT
        raw = outputs["Identity"][sure].astype(np.float64)
        points = raw.reshape(-1, 6, 2)
        anchors = self._anchors[sure] * DETECTOR_SIDE
        centre, size = points[:, 0] + anchors, points[:, 1]
        keypoints = points[:, 2:] + anchors[:, None]
        heads = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
        kept = geometry.suppress(heads, scores[sure], 0.3)
        offset = np.array([left, top])
        regions = [_region(*((keypoints[number, :2] - offset) / scale)) for number in kept]
        return (heads[kept] - np.tile(offset, 2)) / scale, regions


def _region(middle: np.ndarray, scale_point: np.ndarray) -> Region:
    """The body's square from mid-hip and the point above it that gives size and direction."""
    reach = scale_point - middle
    angle = np.pi / 2 - np.arctan2(-reach[1], reach[0])
    side = 2 * float(np.hypot(*reach)) * MARGIN
    wrapped = float((angle + np.pi) % (2 * np.pi) - np.pi)
    return Region(x=float(middle[0]), y=float(middle[1]), side=side, angle=wrapped)


class PoseTracker:
    """Landmarks of the main person from frame to frame; the detector is asked only when the person was lost."""

    def __init__(self) -> None:
        self._network = runtime.tflite("pose-full", ("Identity", "Identity_1"))

    def __call__(self, frame: np.ndarray, region: Region) -> tuple[Pose, Region] | None:
        """The pose in ``region`` and the region for the next frame; None where nobody is there."""
        if not 8.0 <= region.side <= 8.0 * max(frame.shape[:2]):
            return None
        image, matrix = crop(frame, region, LANDMARK_SIDE)
        outputs = self._network(image.astype(np.float32) / 255.0)
        score = float(outputs["Identity_1"][0])
        if score < PRESENT:
            return None
        raw = outputs["Identity"].reshape(39, 5).astype(np.float64)
        points = raw[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        confidence = runtime.sigmoid(raw[:LANDMARKS, 3]) * runtime.sigmoid(raw[:LANDMARKS, 4])
        pose = Pose(points=points[:LANDMARKS], confidence=confidence, score=score)
        return pose, _region(points[33], points[34])


def crop(frame: np.ndarray, region: Region, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """The region upright (uint8 [pixels, pixels, 3], dark parts brightened, black beyond the frame), and the affine map
    [2, 3] back to it."""
    import cv2

    matrix = _crop_matrix(region, pixels)
    upright = cv2.warpAffine(frame, matrix, (pixels, pixels), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return lit(upright), matrix


def _crop_matrix(region: Region, pixels: int) -> np.ndarray:
    """Affine map [2, 3] from crop pixels to frame pixels."""
    scale = region.side / pixels
    cos, sin = np.cos(region.angle) * scale, np.sin(region.angle) * scale
    linear = np.array([[cos, -sin], [sin, cos]])
    shift = np.array([region.x, region.y]) - linear @ np.full(2, pixels / 2)
    return np.concatenate([linear, shift[:, None]], axis=1)


def head_box(pose: Pose) -> np.ndarray:
    """A box around the head, hair and ears included: float64 [4]; see :func:`head_boxes`."""
    return np.asarray(head_boxes(pose.points[None])[0])


def head_boxes(points: np.ndarray) -> np.ndarray:
    """Boxes around the heads of landmarks [N, 33, 2], hair and ears included: float64 [N, 4]. Their size comes from the
    spread of the facial landmarks and, for a head turned away, from the shoulders."""
    facial = points[:, :FACIAL]
    low, high = facial.min(axis=1), facial.max(axis=1)
    spread = (high - low).max(axis=1)
    shoulders = np.linalg.norm(points[:, FACIAL] - points[:, FACIAL + 1], axis=-1)
    half = np.maximum(0.85 * spread, 0.25 * shoulders)
    x, y = ((low + high) / 2).T
    return np.stack([x - half, y - 1.3 * half, x + half, y + 1.1 * half], axis=1)
