"""Extreme close-ups: when a picture is looked at from afar, what a face that fills it means, and real ones."""

import dataclasses

import numpy as np
import pytest

from deemo_dist.config import PolicyConfig
from deemo_dist.deid import Deidentifier
from deemo_dist.deid.body.people import Bodies
from deemo_dist.deid.faces import masking
from deemo_dist.deid.faces.cover import Cover, cover_clip
from deemo_dist.deid.faces.detectors import BlazeFace, on_canvas
from deemo_dist.deid.faces.far import FarFace
from deemo_dist.deid.faces.scan import FaceModels, FaceScan, FaceTracks, Found
from tests.truth import truth
from tests.unit.deid.conftest import deidentify, footage, make_clip

SIZE = (64, 48)
NONE = (np.zeros((0, 4)), np.zeros(0))
WHOLE = (np.array([[0.0, 0, *SIZE]]), np.array([0.2]))
NEAR = (np.array([[8.0, 8, 16, 16]]), np.array([0.9]))
FAINT = (NEAR[0], np.array([0.3]))


class Far:
    """A look from afar that sees a face in ``filled`` frames; remembers which it was shown (the corner says)."""

    def __init__(self, filled: range = range(0)) -> None:
        self.filled, self.shown = filled, list[int]()

    def __call__(self, frame: np.ndarray) -> Found:
        self.shown.append(int(frame[-1, -1, 0]))
        return WHOLE if self.shown[-1] in self.filled else NONE


def looked(frames: int, near: Found, *far: Far, rate: float = 30.0, cut: int | None = None) -> FaceTracks:
    scan = FaceScan(PolicyConfig(), FaceModels(lambda frame: near, lambda frame: near, 320, far))
    for number in range(frames):
        frame = np.full((SIZE[1], SIZE[0], 3), 90 if cut is None or number < cut else 220, np.uint8)
        frame[-1, -1] = number
        scan.see(number, number / rate, frame)
    return scan.finish()


def covered(tracks: FaceTracks, frames: int, *, rate: float = 30.0) -> Cover:
    times = np.arange(frames) / rate
    return cover_clip(tracks, Bodies({}, {}), [], PolicyConfig(), times=times, size=SIZE)


@pytest.mark.parametrize("near", [NONE, FAINT])
def test_where_no_face_is_sure_every_look_is_from_afar_too_in_turn(near: Found) -> None:
    first, second = Far(), Far()
    found = looked(13, near, first, second)
    assert (first.shown, second.shown) == ([0, 6, 12], [0, 3, 9])
    assert found.far == tuple(found.boxes) == (0, 3, 6, 9, 12)


def test_beside_a_sure_face_it_costs_a_look_a_second_and_at_cuts() -> None:
    far = Far()
    assert looked(65, NEAR, far).far == (0, 30, 60, 64)
    assert far.shown == [0, 30, 60, 64]
    assert looked(30, NEAR, Far(), cut=10).far == (0, 9, 10, 29)


def test_a_face_that_fills_the_picture_is_followed_and_masks_all_of_it() -> None:
    far = Far(range(20, 50))
    found = looked(90, NONE, far)
    assert {18, 19, 20, 49, 50, 51} <= set(found.far)
    regions = covered(found, 90).regions
    whole = [number for number in range(90) if (regions[number] == [0, 0, *SIZE]).all(axis=1).any()]
    assert set(range(20, 50)) <= set(whole)
    assert len(whole) < 70


def test_beside_a_sure_face_one_that_fills_the_picture_is_held_from_look_to_look() -> None:
    found = looked(100, NEAR, Far(range(35, 62)))
    assert not {number for number in found.far if 30 < number < 58}
    made = covered(found, 100)
    assert made.filled_frames < 100
    assert all((made.regions[number] == [0, 0, *SIZE]).all(axis=1).any() for number in range(35, 62))


def test_a_face_over_most_of_a_picture_masks_all_of_it() -> None:
    for box, filled in ((np.array([[4.0, -20, 60, 70]]), 3), (np.array([[20.0, 10, 40, 30]]), 0)):
        made = covered(FaceTracks(dict.fromkeys(range(3), box)), 3)
        assert made.filled_frames == filled
        assert all(bool((each == [0, 0, *SIZE]).all(axis=1).any()) == bool(filled) for each in made.regions)


def test_only_what_fills_the_picture_counts_from_afar() -> None:
    frame = np.full((90, 160, 3), 200, np.uint8)
    canvas, scale, left, top = on_canvas(frame, 128, 0.5)
    assert canvas.shape == (128, 128, 3)
    assert (scale, left, top) == (0.4, 32, 46)
    assert (canvas[top : top + 36, left : left + 64] == 200).all()
    assert canvas.sum() == 36 * 64 * 3 * 200
    large, small = np.array([[30.0, 20, 98, 100]]), np.array([[40.0, 50, 60, 70]])
    assert FarFace(lambda canvas: (small, np.array([0.9])), 128)(frame)[0].shape == (0, 4)
    boxes, scores = FarFace(lambda canvas: (np.concatenate([small, large]), np.array([0.9, 0.3])), 128)(frame)
    assert (boxes.tolist(), scores.tolist()) == ([[0, 0, 160, 90]], [0.3])


def close_up(name: str, place: tuple[float, float], width: float, *, count: int = 24) -> np.ndarray:
    """Frames uint8 [T, 360, 640, 3] of a part of a face: about ``place`` in its box, ``width`` of it wide."""
    import cv2

    raw, box = footage(name, count=count).frames, truth()[name][0][0]
    assert raw is not None
    side = box[2:] - box[:2]
    middle, half = box[:2] + side * place, side[0] * width / 2 * np.array([1, 9 / 16])
    left, top, right, bottom = np.clip([*(middle - half), *(middle + half)], 0, [*raw.shape[2:0:-1]] * 2).astype(int)
    return np.stack([cv2.resize(frame[top:bottom, left:right], (640, 360)) for frame in raw])


PARTS = [((0.5, 0.45), 1.0), ((0.3, 0.4), 0.8), ((0.5, 0.38), 0.9), ((0.5, 0.35), 0.7)]


@pytest.mark.slow
@pytest.mark.parametrize(("place", "width"), PARTS)
@pytest.mark.parametrize("name", sorted(truth()))
def test_of_a_face_larger_than_the_picture_nothing_is_left(
    deidentifier: Deidentifier, name: str, place: tuple[float, float], width: float
) -> None:
    decoded = dataclasses.replace(footage(name, count=24), frames=close_up(name, place, width))
    made, shown = deidentify(deidentifier, make_clip(), decoded)
    assert (shown == masking.FILL).all()
    assert made.attestation.figures["filled_frames"] == 24


@pytest.mark.slow
def test_the_audit_sees_faces_larger_than_the_picture() -> None:
    audit = BlazeFace()
    seen = [len(audit(close_up(name, place, width, count=1)[0])[0]) for name in truth() for place, width in PARTS[:3]]
    assert sum(map(bool, seen)) >= 7
    assert not len(audit(np.full((360, 640, 3), 90, np.uint8))[0])


@pytest.mark.slow
def test_pictures_without_a_face_are_seen_from_afar_in_vain() -> None:
    import cv2

    far = FaceModels.of(PolicyConfig()).far
    raw = footage("clip-no-face", count=95).frames
    people = footage("clip-pexels", count=60).frames
    assert raw is not None
    assert people is not None
    beside = people[::6, :, : int(truth()["clip-pexels"][0][0][0]) - 60]
    rng = np.random.default_rng(0)
    shapes = [cv2.resize(rng.integers(0, 255, (6, 9, 3), np.uint8), (320, 180)) for _ in range(10)]
    for frame in [*raw[::6], *beside, *shapes]:
        assert not any(len(look(frame)[0]) for look in far)
