"""Body cues: no face in them, no place, no size, no limb proportions."""

import numpy as np
import pytest

from deemo_dist.deid.body.cues import (
    BONES,
    FINGERS,
    HAND_KEYPOINTS,
    KEYPOINTS,
    canonical,
    canonical_hands,
    cues,
    hand_cues,
    normalised,
    pixel_cues,
)
from deemo_dist.deid.body.people import Bodies
from deemo_dist.deid.body.pose import Pose, head_box
from tests.unit.deid.body.stand_ins import hand


def figure(lift: float = 0.0, arm: float = 1.0) -> np.ndarray:
    """33 points of an upright person; ``lift`` raises the left hand, ``arm`` scales the arms."""
    points = np.zeros((33, 2))
    points[:11] = np.array([100, 40]) + np.random.default_rng(0).normal(0, 6, (11, 2))
    points[11], points[12] = (130, 80), (70, 80)
    for side, sign in ((11, 1), (12, -1)):
        elbow = points[side] + arm * np.array([sign * 14, 48])
        wrist = elbow + arm * np.array([sign * 4, 44 - 80 * lift * (sign > 0)])
        points[side + 2], points[side + 4] = elbow, wrist
        points[[side + 6, side + 8, side + 10]] = wrist + arm * np.array([[2, 14], [0, 15], [-4, 8]])
    points[23], points[24] = (118, 170), (82, 170)
    for side in (23, 24):
        points[side + 2] = points[side] + (0, 75)
        points[side + 4] = points[side + 2] + (0, 72)
        points[side + 6], points[side + 8] = points[side + 4] + (-3, 10), points[side + 4] + (8, 14)
    return points


TIMES = np.arange(12) / 8


def bodies(poses: dict[int, Pose], **more: object) -> Bodies:
    return Bodies(poses=poses, heads={}, **more)  # type: ignore[arg-type]


def pose(points: np.ndarray, confidence: float = 0.9) -> Pose:
    return Pose(points=points, confidence=np.full(33, confidence), score=0.99)


def clip(scale: float = 1.0, shift: float = 0.0, arm: float = 1.0) -> np.ndarray:
    poses = {
        frame: pose(figure(lift, arm) * scale + shift) for frame, lift in ((0, 0.0), (4, 0.5), (8, 1.0), (11, 0.2))
    }
    return cues(bodies(poses), TIMES)


def test_cues_have_their_form_and_hold_no_facial_point() -> None:
    made = clip()
    assert made.shape == (12, KEYPOINTS, 3) == (12, 22, 3)
    assert made.dtype == np.float16
    moved = {0: figure(), 11: figure()}
    for points in moved.values():
        points[:11] += 1000
    first = cues(bodies({frame: pose(figure()) for frame in moved}), TIMES)
    assert np.array_equal(first, cues(bodies({frame: pose(points) for frame, points in moved.items()}), TIMES))


def test_place_and_size_in_the_frame_do_not_show() -> None:
    assert np.allclose(clip(), clip(scale=2.5, shift=40), atol=2e-3)


@pytest.mark.parametrize("arm", [0.85, 1.2])
def test_arm_length_does_not_show_but_the_gesture_does(arm: float) -> None:
    plain, other = clip().astype(float), clip(arm=arm).astype(float)
    assert np.abs(plain - other)[..., :2].max() < 0.02
    wrist = plain[:, 4, 1]
    assert wrist[0] - wrist[8] > 0.5


def test_canonical_limbs_have_their_length_at_the_ninetieth_percentile() -> None:
    points = np.stack([figure(lift) for lift in np.linspace(0, 0.2, 20)])[:, 11:]
    placed = canonical(normalised(points))
    for parent, child, length in BONES:
        seen = np.percentile(np.linalg.norm(placed[:, child] - placed[:, parent], axis=1), 90)
        assert 0.6 * length <= seen <= 1.05 * length


def test_nobody_gives_zeros() -> None:
    made = cues(bodies({}), TIMES[:5])
    assert made.shape == (5, 22, 3)
    assert not made.any()


def test_a_collapsed_person_gives_finite_cues() -> None:
    still = pose(np.full((33, 2), 50.0))
    made = cues(bodies({0: still, 3: still}), TIMES[:4])
    assert np.isfinite(made).all()


def test_the_head_box_holds_every_facial_point() -> None:
    points = figure()
    left, top, right, bottom = head_box(pose(points))
    assert (points[:11] > (left, top)).all()
    assert (points[:11] < (right, bottom)).all()
    assert right - left < 100


def test_pixel_cues_keep_what_the_others_take_away() -> None:
    poses = {0: pose(figure() * 3), 11: pose(figure() * 3)}
    made = pixel_cues(bodies(poses), TIMES)
    assert made.shape == (12, KEYPOINTS, 3)
    assert np.allclose(made[5, :, :2], figure()[11:] * 3, atol=1e-3)
    assert not pixel_cues(bodies({}), TIMES).any()


def test_another_person_is_another_scale_and_nothing_lies_between() -> None:
    first, second = pose(figure()), pose(figure() * 2 + 300)
    made = cues(bodies({0: first, 4: first, 8: second, 11: second}, breaks=frozenset({8})), TIMES)
    assert np.allclose(made[0, :, :2], made[11, :, :2], atol=2e-3)
    assert (made[:5, :, 2] > 0).all()
    assert not made[5:8, :, 2].any()  # 0.5 s, but another person's
    assert (made[8:, :, 2] > 0).all()


def test_hand_cues_hold_the_shape_and_no_size_or_place() -> None:
    near, far = hand(size=60, at=(200, 100)), hand(size=20, at=(30, 40), thick=1.25)
    made = [hand_cues(bodies({0: pose(figure())}, hands={0: (one,), 4: (one,)}), TIMES) for one in (near, far)]
    for track in made:
        assert track is not None
        assert track.shape == (12, HAND_KEYPOINTS, 3)
        assert track.dtype == np.float16
        assert (track[:5, :21, 2] > 0).all()
        assert not track[6:, :21, 2].any()
        assert not track[:, 21:].any()
    assert np.allclose(made[0], made[1], atol=0.02)  # type: ignore[arg-type]
    assert hand_cues(bodies({0: pose(figure())}), TIMES) is None


def test_canonical_fingers_have_their_length() -> None:
    placed = canonical_hands(np.stack([hand(size=40, at=(5, 5)).points] * 3))
    for parent, child, length in FINGERS:
        assert np.linalg.norm(placed[0, child] - placed[0, parent]) == pytest.approx(length, abs=0.01)


def test_wrist_and_knuckles_come_from_the_hand_where_one_was_seen() -> None:
    seen = hand(size=30, at=(150, 60))
    plain, joined = (
        pixel_cues(bodies({0: pose(figure(), 0.1)}, **more), TIMES[:1]) for more in ({}, {"hands": {0: (seen,)}})
    )
    assert np.allclose(joined[0, [4, 6, 8], :2], seen.points[[0, 17, 5]])
    assert joined[0, 4, 2] == pytest.approx(seen.score)
    assert np.array_equal(plain[0, 5], joined[0, 5])
