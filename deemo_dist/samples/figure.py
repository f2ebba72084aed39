"""The figure: background, torso, neck and head as sprites painted once a clip, arms painted on every frame."""

from dataclasses import dataclass

import numpy as np

from deemo_dist.samples.limbs import capsule, fill, outline, paint_arm, tint
from deemo_dist.samples.people import Colour, Subject
from deemo_dist.samples.pose import CENTRE, SHOULDER_Y, SIZE, Stance

NECK_TOP = int(SHOULDER_Y) - 54


@dataclass(frozen=True)
class Figure:
    """What is painted once a clip.

    ``torso``: uint8 RGB times its alpha, ``clear``: uint8 RGB of 255 less that alpha; ``head``: float32 RGBA;
    ``grain``: uint8 pairs of what is added to a frame and what is taken from it.
    """

    subject: Subject
    background: np.ndarray
    torso: np.ndarray
    clear: np.ndarray
    head: np.ndarray
    skin: Colour
    grain: tuple[tuple[np.ndarray, np.ndarray], ...]


def make_figure(subject: Subject, face: np.ndarray, rng: np.random.Generator) -> Figure:
    """Paint what does not change within a clip. ``face`` is one of ``face_crops``."""
    head = _tinted(face, subject)
    skin = _skin_of(head)
    torso, alpha = _paint_torso(subject, skin)
    share = alpha[..., None].astype(np.float32) / 255
    return Figure(
        subject=subject,
        background=_paint_background(subject, rng),
        torso=(torso * share + 0.5).astype(np.uint8),
        clear=np.repeat(255 - alpha[..., None], 3, axis=2),
        head=head,
        skin=skin,
        grain=tuple(_grain(rng) for _ in range(3)),
    )


def paint(figure: Figure, stance: Stance, number: int) -> np.ndarray:
    """One frame: uint8 RGB [256, 256, 3]."""
    import cv2

    shift = np.array([[1, 0, stance.torso[0]], [0, 1, stance.torso[1]]], np.float64)
    area = SIZE, SIZE - NECK_TOP
    body = cv2.warpAffine(figure.torso[NECK_TOP:], shift, area, borderMode=cv2.BORDER_REPLICATE)
    clear = cv2.warpAffine(figure.clear[NECK_TOP:], shift, area, borderMode=cv2.BORDER_REPLICATE)
    image = figure.background.copy()
    image[NECK_TOP:] = cv2.add(cv2.multiply(image[NECK_TOP:], clear, scale=1 / 255), body)
    _paint_head(image, figure, stance)
    for arm in stance.arms:
        paint_arm(image, arm, figure.subject, figure.skin)
    bright, dark = figure.grain[number % len(figure.grain)]
    return cv2.subtract(cv2.add(image, bright), dark)


def _grain(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sensor noise, the same in all channels: what to add and what to take away."""
    noise = np.repeat(rng.normal(0, 1.6, (SIZE, SIZE, 1)), 3, axis=2)
    return np.clip(noise, 0, 9).astype(np.uint8), np.clip(-noise, 0, 9).astype(np.uint8)


def _tinted(face: np.ndarray, subject: Subject) -> np.ndarray:
    """The head at its size in the picture, in the subject's skin tone."""
    import cv2

    high = round(2 * subject.head)
    size = round(high * face.shape[1] / face.shape[0]), high
    head = cv2.resize(face[:, ::-1] if subject.mirrored else face, size, interpolation=cv2.INTER_AREA)
    head[..., :3] = np.clip(head[..., :3] * np.array(subject.skin, np.float32) * 1.06, 0, 255)
    return head


def _skin_of(head: np.ndarray) -> Colour:
    """The colour of the cheeks."""
    height, width = head.shape[:2]
    cheeks = head[int(height * 0.55) : int(height * 0.66), int(width * 0.3) : int(width * 0.7), :3]
    red, green, blue = np.median(cheeks.reshape(-1, 3), axis=0)
    return float(red), float(green), float(blue)


def _paint_background(subject: Subject, rng: np.random.Generator) -> np.ndarray:
    """A blurred room: a wall with light from one side, and some shapes out of focus."""
    import cv2

    rows, columns = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    light = 0.78 + 0.34 * (columns if rng.integers(2) else 1 - columns) - 0.18 * rows
    image = np.clip(np.array(subject.background) * light[..., None], 0, 255).astype(np.uint8)
    for _ in range(6):
        x, y = rng.integers(0, SIZE, 2)
        wide, high = rng.integers(14, 60, 2)
        shade = tint(subject.background, float(rng.uniform(0.6, 1.35)))
        cv2.rectangle(image, (int(x), int(y)), (int(x + wide), int(y + high)), shade, -1)
    return cv2.GaussianBlur(image, (0, 0), 7)


def _paint_torso(subject: Subject, skin: Colour) -> tuple[np.ndarray, np.ndarray]:
    """Neck, shoulders and chest with folds and a collar, and their alpha."""
    import cv2

    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[:] = tint(subject.shirt, 0.7)
    shape = _torso_outline(subject)
    alpha = np.zeros((SIZE, SIZE), np.uint8)
    fill(alpha, shape, (255.0, 255.0, 255.0))
    fill(image, shape, subject.shirt)
    if subject.stripes:
        for y in range(int(SHOULDER_Y) - 14, SIZE, 14):
            cv2.line(image, (0, y), (SIZE, y), tint(subject.shirt, 0.72), 4, cv2.LINE_AA)
    columns = (np.arange(SIZE) - CENTRE) / (subject.shoulders * 0.72)
    round_ = 1.08 - 0.42 * np.clip(np.abs(columns + 0.12), 0, 1) ** 2.2
    folds = 1 + 0.03 * np.sin(np.arange(SIZE)[:, None] / 9.0 + 3 * np.sin(columns * 4))
    image = np.clip(image * (round_[None, :] * folds)[..., None], 0, 255).astype(np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 0.8)
    _paint_neck(image, alpha, subject, skin)
    return image, alpha


def _torso_outline(subject: Subject) -> np.ndarray:
    """Half an outline from the neck over the shoulder to the hip, and its mirror image."""
    half, neck = subject.shoulders / 2, 12.5 * subject.girth
    points = [
        (neck, SHOULDER_Y - 18),
        (neck + 7, SHOULDER_Y - 14),
        (half * 0.72, SHOULDER_Y - 9),
        (half + 3, SHOULDER_Y - 5),
        (half + 10 * subject.girth, SHOULDER_Y + 3),
        (half + 12 * subject.girth, SHOULDER_Y + 16),
        (half + 3, SHOULDER_Y + 36),
        (half - 3, SHOULDER_Y + 75),
        (half - 4, SHOULDER_Y + 105),
        (half + 2, SIZE + 20),
    ]
    right = np.array(points)
    left = right[::-1] * (-1, 1)
    return np.concatenate([right, left]) + np.array([CENTRE, 0])


def _paint_neck(image: np.ndarray, alpha: np.ndarray, subject: Subject, skin: Colour) -> None:
    top, bottom = np.array([CENTRE, SHOULDER_Y - 42]), np.array([CENTRE, SHOULDER_Y - 10])
    down = np.array([0.0, 1.0])
    wide = 12.0 * subject.girth
    rim = bottom - 4 * down, bottom + 2 * down, (wide + 5, wide + 4)
    neck = top, bottom, (wide, wide * 1.08)
    capsule(image, *rim, tint(subject.shirt, 0.62), 1)
    capsule(image, *neck, tint(skin, 0.94))
    capsule(image, top - 4 * down, top + 19 * down, (wide * 0.9, wide * 0.8), tint(skin, 0.74), 2)
    for part in (neck, rim):
        fill(alpha, outline(*part), (255.0, 255.0, 255.0))
    alpha[: NECK_TOP + 4] = 0


def _paint_head(image: np.ndarray, figure: Figure, stance: Stance) -> None:
    """Paste the photographed head, tilted, its chin over the neck (in place)."""
    import cv2

    height, width = figure.head.shape[:2]
    centre = np.array([CENTRE, SHOULDER_Y - 20 - figure.subject.head]) + stance.head
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), stance.tilt, 1.0)
    x, y = int(centre[0]) - 40, int(centre[1]) - 48
    turn[:, 2] += centre - (x, y) - (width / 2, height / 2)
    area = image[max(y, 0) : y + 96, x : x + 80]
    turn[1, 2] += min(y, 0)
    head = cv2.warpAffine(figure.head, turn, (area.shape[1], area.shape[0]), flags=cv2.INTER_LINEAR)
    share = head[..., 3:]
    area[:] = (head[..., :3] * share + area * (1 - share) + 0.5).astype(np.uint8)
