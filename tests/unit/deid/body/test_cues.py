"""Body cues: no face in them, no place, no size, no limb proportions."""

import numpy as np
import pytest

from deemo_dist.deid.body.cues import BONES, KEYPOINTS, canonical, cues, interpolated, normalised
from deemo_dist.deid.body.pose import Pose, head_box


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


def pose(points: np.ndarray, confidence: float = 0.9) -> Pose:
    return Pose(points=points, confidence=np.full(33, confidence), score=0.99)


def clip(scale: float = 1.0, shift: float = 0.0, arm: float = 1.0) -> np.ndarray:
    poses = {
        frame: pose(figure(lift, arm) * scale + shift) for frame, lift in ((0, 0.0), (4, 0.5), (8, 1.0), (11, 0.2))
    }
    return cues(poses, 12)


def test_cues_have_their_form_and_hold_no_facial_point() -> None:
    made = clip()
    assert made.shape == (12, KEYPOINTS, 3) == (12, 22, 3)
    assert made.dtype == np.float16
    moved = {0: figure(), 11: figure()}
    for points in moved.values():
        points[:11] += 1000
    first = cues({frame: pose(figure()) for frame in moved}, 12)
    assert np.array_equal(first, cues({frame: pose(points) for frame, points in moved.items()}, 12))


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
    made = cues({}, 5)
    assert made.shape == (5, 22, 3)
    assert not made.any()


def test_between_poses_is_linear_and_beyond_has_no_confidence() -> None:
    values = np.array([[[0.0, 0.0, 1.0]], [[4.0, 8.0, 0.5]]])
    dense = interpolated(np.array([2, 6]), values, 9)
    assert dense[4, 0].tolist() == [2.0, 4.0, 0.75]
    assert dense[2, 0].tolist() == [0.0, 0.0, 1.0]
    assert dense[0, 0, 2] == dense[8, 0, 2] == 0.0
    assert dense[8, 0, :2].tolist() == [4.0, 8.0]


def test_a_collapsed_person_gives_finite_cues() -> None:
    made = cues({0: pose(np.full((33, 2), 50.0)), 3: pose(np.full((33, 2), 50.0))}, 4)
    assert np.isfinite(made).all()


def test_the_head_box_holds_every_facial_point() -> None:
    points = figure()
    left, top, right, bottom = head_box(pose(points))
    assert (points[:11] > (left, top)).all()
    assert (points[:11] < (right, bottom)).all()
    assert right - left < 100
