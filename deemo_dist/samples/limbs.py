"""Shaded arms and hands, painted with anti-aliased shapes."""

import math

import numpy as np

from deemo_dist.samples.people import Colour, Subject
from deemo_dist.samples.pose import Arm

SHIFT = 4
LIGHT = (-0.5, -0.8)
LAYERS = ((1.0, 0.66, 0.0), (0.9, 0.80, 0.06), (0.76, 0.91, 0.13), (0.58, 1.0, 0.21), (0.36, 1.07, 0.30))
SIZES = np.array([layer[0] for layer in LAYERS])[:, None, None]
OFFSETS = np.array([layer[2] for layer in LAYERS])[:, None, None]
CAP = np.array([(math.cos(turn), math.sin(turn)) for turn in np.linspace(-np.pi / 2, np.pi / 2, 9)])
FINGERS = {
    "open": ((-0.52, 0.80), (-0.20, 0.98), (0.10, 1.0), (0.42, 0.86)),
    "relaxed": ((-0.20, 0.74), (-0.06, 0.86), (0.08, 0.84), (0.22, 0.70)),
}


def tint(colour: Colour, factor: float) -> Colour:
    """A colour made darker (< 1) or lighter (> 1), kept in 0..255."""
    red, green, blue = colour
    return min(255.0, red * factor), min(255.0, green * factor), min(255.0, blue * factor)


def capsule(
    image: np.ndarray, start: np.ndarray, end: np.ndarray, radii: tuple[float, float], colour: Colour, layers: int = 5
) -> None:
    """Paint a limb from ``start`` to ``end`` that tapers between ``radii``, darker at its rim, lit from upper left."""
    import cv2

    shapes = _outlines(start, end, radii, SIZES[:layers], OFFSETS[:layers])
    fixed = np.rint(shapes * (1 << SHIFT)).astype(np.int32)
    for polygon, (_, shade, _) in zip(fixed, LAYERS, strict=False):
        cv2.fillPoly(image, [polygon], tint(colour, shade), lineType=cv2.LINE_AA, shift=SHIFT)


def outline(start: np.ndarray, end: np.ndarray, radii: tuple[float, float]) -> np.ndarray:
    """The outline [18, 2] of a limb with round ends."""
    return _outlines(start, end, radii, SIZES[:1], OFFSETS[:1])[0]


def _outlines(
    start: np.ndarray, end: np.ndarray, radii: tuple[float, float], sizes: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """Outlines [L, 18, 2] scaled by ``sizes`` and moved to the light by ``offsets``, in units of the radii."""
    x, y = end[0] - start[0], end[1] - start[1]
    length = math.hypot(x, y) or 1e-6
    x, y = x / length, y / length
    side = math.copysign(1.0, -y * LIGHT[0] + x * LIGHT[1])
    cap = CAP @ ((x, y), (-y, x))
    lit = offsets * (-y * side, x * side)
    return np.concatenate([end + radii[1] * (lit + cap * sizes), start + radii[0] * (lit - cap * sizes)], axis=1)


def fill(image: np.ndarray, polygon: np.ndarray, colour: Colour) -> None:
    """Fill a polygon [N, 2] (pixels) with anti-aliased edges, in place."""
    import cv2

    cv2.fillPoly(image, [np.rint(polygon * (1 << SHIFT)).astype(np.int32)], colour, lineType=cv2.LINE_AA, shift=SHIFT)


def paint_arm(image: np.ndarray, arm: Arm, subject: Subject, skin: Colour) -> None:
    """Paint sleeve, forearm and hand of one arm over ``image`` (uint8 RGB, in place)."""
    thick = 13.0 * subject.girth
    sleeve = subject.shirt
    lower = skin if subject.short_sleeves else sleeve
    cuff = arm.elbow + (arm.wrist - arm.elbow) * 0.86
    capsule(image, arm.shoulder, arm.elbow, (thick, thick * 0.80), sleeve)
    if subject.short_sleeves:
        hem = arm.shoulder + (arm.elbow - arm.shoulder) * 0.62
        capsule(image, hem, arm.elbow, (thick * 0.74, thick * 0.70), skin)
        capsule(image, arm.shoulder, hem, (thick, thick * 0.92), sleeve)
    capsule(image, arm.elbow, arm.wrist, (thick * 0.62, thick * 0.42), skin)
    capsule(image, arm.elbow, cuff, (thick * (0.70 if subject.short_sleeves else 0.80), thick * 0.58), lower)
    paint_hand(image, arm, subject.hand * 0.95, skin)


def paint_hand(image: np.ndarray, arm: Arm, size: float, skin: Colour) -> None:
    """Paint a hand at the wrist: palm, four fingers and a thumb, or a fist with knuckles."""
    forward = np.array([np.cos(arm.angle), np.sin(arm.angle)])
    across = np.array([-forward[1], forward[0]])
    palm = arm.wrist + forward * size * 0.36
    thumb = -np.sign(across[0] * arm.side) * across if abs(across[0]) > 0.3 else np.sign(-across[1]) * across
    if arm.shape == "fist":
        _paint_fist(image, arm.wrist, forward, across, thumb, size, skin)
        return
    for spread, length in FINGERS[arm.shape]:
        direction = np.cos(spread) * forward + np.sin(spread) * across
        root = palm + across * np.sin(spread) * size * 0.42 + forward * size * 0.16
        capsule(image, root, root + direction * size * 0.56 * length, (size * 0.105, size * 0.085), skin, 3)
    capsule(image, arm.wrist, palm + forward * size * 0.1, (size * 0.22, size * 0.27), tint(skin, 0.98))
    apart = 0.75 if arm.shape == "open" else 0.35
    tip = palm + (thumb * apart + forward * 0.35) * size * 0.62
    capsule(image, palm + thumb * size * 0.14, tip, (size * 0.13, size * 0.09), skin, 3)


def _paint_fist(
    image: np.ndarray,
    wrist: np.ndarray,
    forward: np.ndarray,
    across: np.ndarray,
    thumb: np.ndarray,
    size: float,
    skin: Colour,
) -> None:
    centre = wrist + forward * size * 0.42
    capsule(image, wrist, centre, (size * 0.24, size * 0.36), skin)
    for place in (-0.26, -0.09, 0.08, 0.25):
        root = centre + across * place * size + forward * size * 0.26
        capsule(image, root, root - forward * size * 0.26, (size * 0.115, size * 0.10), skin, 3)
    start = centre + thumb * size * 0.27 - forward * size * 0.1
    capsule(image, start, start - thumb * size * 0.3 + forward * size * 0.06, (size * 0.12, size * 0.1), skin, 3)
