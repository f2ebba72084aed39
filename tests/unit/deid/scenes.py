"""Scenes for tests, made at run time out of pinned footage: a real face made small, in a large picture."""

from collections.abc import Iterator

import numpy as np

from tests.truth import truth
from tests.unit.deid.conftest import footage

SIZE = (1920, 1080)
Shown = tuple[np.ndarray, np.ndarray | None]
"""A frame uint8 [1080, 1920, 3], and where its face is (float64 [4]), if there is one."""


def background() -> np.ndarray:
    """Soft grey shapes."""
    import cv2

    coarse = np.random.default_rng(0).integers(90, 150, (27, 48, 3)).astype(np.uint8)
    return cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC)


def entering(
    name: str, side: int, *, frames: int, enters: int, leaves: int | None = None, speed: float = 1.0
) -> Iterator[Shown]:
    """``frames`` frames in which a talking face, ``side`` pixels high, is seen from frame ``enters`` until ``leaves``,
    and moves by ``speed`` pixels a frame to the right."""
    import cv2

    raw, boxes, scene = footage(name, count=frames).frames, truth()[name], background()
    assert raw is not None
    scale = side / float(boxes[0][0][3] - boxes[0][0][1])
    for number in range(frames):
        if not enters <= number < (frames if leaves is None else leaves):
            yield scene.copy(), None
            continue
        small = cv2.resize(raw[number], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        left, top = 900 + round(speed * number), 400
        frame = scene.copy()
        frame[top : top + small.shape[0], left : left + small.shape[1]] = small
        yield frame, boxes[number][0] * scale + np.array([left, top] * 2)


def beside_a_poster(*, frames: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """A person who talks and walks through a picture of 960 x 540 with a face on a poster: (frame, the poster's face,
    the person's, where it was checked), boxes float64 [4]."""
    import cv2

    poster, person = footage("clip-single-face", count=1).frames, footage("clip-pexels", count=frames).frames
    assert poster is not None
    assert person is not None
    scene = cv2.resize(background(), (960, 540), interpolation=cv2.INTER_AREA)
    small = cv2.resize(poster[0], None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    scene[20 : 20 + small.shape[0], 680 : 680 + small.shape[1]] = small
    hung = truth()["clip-single-face"][0][0] * 0.4 + np.array([680, 20] * 2)
    for number in range(frames):
        walker = cv2.resize(person[number], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
        left, top = 10 + 4 * number, 300
        frame = scene.copy()
        frame[top : top + walker.shape[0], left : left + walker.shape[1]] = walker
        checked = truth()["clip-pexels"].get(number, np.zeros((0, 4)))
        yield frame, hung, checked[0] * 0.6 + np.array([left, top] * 2) if len(checked) else None
