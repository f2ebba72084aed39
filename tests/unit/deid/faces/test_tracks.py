"""Tracks: their laws, and how much of a moving face stays covered when detections drop out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.config import PolicyConfig
from deemo_dist.deid import geometry
from deemo_dist.deid.body.people import Bodies
from deemo_dist.deid.body.pose import Pose
from deemo_dist.deid.faces.cover import cover_clip
from deemo_dist.deid.faces.scan import FaceTracks
from deemo_dist.deid.faces.tracks import Track, cover, holds, link

FRAMES = 60
number = st.floats(0, 200, allow_nan=False)
box = st.tuples(number, number, st.floats(4, 80), st.floats(4, 80)).map(
    lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[3])
)
tracks = st.dictionaries(st.integers(0, FRAMES - 1), box, min_size=1, max_size=12).map(
    lambda found: Track(frames=np.array(sorted(found)), boxes=np.array([found[frame] for frame in sorted(found)]))
)


def sampled(frames: int, every: int) -> list[int]:
    """Frame numbers 0, every, 2 every, ... and the last."""
    return sorted({*range(0, frames, every), frames - 1}) if frames > 0 else []


def contains(outer: np.ndarray, inner: np.ndarray) -> bool:
    slack = 1e-6
    return any((each[:2] <= inner[:2] + slack).all() and (each[2:] >= inner[2:] - slack).all() for each in outer)


@settings(max_examples=60, deadline=None)
@given(track=tracks, dilate=st.floats(0, 0.5), hold=st.integers(0, 8))
def test_the_cover_contains_the_interpolated_box(track: Track, dilate: float, hold: int) -> None:
    covered = cover([track], frames=FRAMES, dilate=dilate, held=[(hold, hold)])
    for frame in range(int(track.frames[0]), int(track.frames[-1]) + 1):
        between = np.array([np.interp(frame, track.frames, track.boxes[:, side]) for side in range(4)])
        assert contains(covered[frame], between)


@settings(max_examples=60, deadline=None)
@given(track=tracks, hold=st.integers(0, 8))
def test_the_ends_are_held_and_no_longer(track: Track, hold: int) -> None:
    covered = cover([track], frames=FRAMES, dilate=0.2, held=[(hold, hold)])
    first, last = int(track.frames[0]), int(track.frames[-1])
    for frame in range(FRAMES):
        if first - hold <= frame < first:
            assert contains(covered[frame], track.boxes[0])
        elif last < frame <= last + hold:
            assert contains(covered[frame], track.boxes[-1])
        elif frame < first or frame > last:
            assert len(covered[frame]) == 0


def test_a_hold_goes_from_look_to_look_and_to_the_ends_of_the_clip() -> None:
    track = Track(frames=np.array([20, 23]), boxes=np.tile([10.0, 10, 30, 30], (2, 1)))
    assert holds(track, 4, [0, 12, 20, 40], frames=60) == (8, 17)
    assert holds(track, 12, [0, 12, 20, 24], frames=60) == (12, 12)
    assert holds(track, 4, [20, 23], frames=60) == (20, 36)
    assert holds(track, 4, [0, 12, 20, 40, 50], frames=60, missed=1) == (20, 27)
    assert holds(track, 4, [12, 20, 40], frames=60, missed=1) == (20, 36)


def test_a_long_hold_goes_where_the_track_came_from_whatever_one_detection_says() -> None:
    frames = np.arange(50, 80, 3)
    boxes = np.stack([[2.0 * frame, 40, 2.0 * frame + 30, 70] for frame in frames])
    boxes[1, [0, 2]] -= 6  # as if it stood still
    covered = cover([Track(frames=frames, boxes=boxes)], frames=80, dilate=0.1, held=[(40, 0)])
    for frame in range(10, 50):
        assert contains(covered[frame], np.array([2.0 * frame, 40, 2.0 * frame + 30, 70]))


@settings(max_examples=60, deadline=None)
@given(found=st.dictionaries(st.integers(0, FRAMES - 1), st.lists(box, max_size=3), max_size=8), gap=st.integers(1, 30))
def test_every_detection_is_in_exactly_one_track_and_covered(found: dict[int, list], gap: int) -> None:
    linked = link({frame: np.array(boxes).reshape(-1, 4) for frame, boxes in found.items()}, max_gap=gap)
    assert sum(len(track.frames) for track in linked) == sum(len(boxes) for boxes in found.values())
    covered = cover(linked, frames=FRAMES, dilate=0.0, held=[(0, 0)] * len(linked))
    for frame, boxes in found.items():
        for each in boxes:
            assert contains(covered[frame], np.array(each))
    assert all((np.diff(track.frames) > 0).all() and (np.diff(track.frames) <= gap).all() for track in linked)


@settings(max_examples=80, deadline=None)
@given(boxes=st.lists(box, min_size=1, max_size=4), width=st.integers(16, 300), height=st.integers(16, 300))
def test_snapping_only_grows_and_stays_in_the_frame(boxes: list, width: int, height: int) -> None:
    for each in boxes:
        inside = np.clip(np.array(each), 0, [width, height, width, height])
        snapped = geometry.snap(np.array([each]), 4, width, height)
        if geometry.area(inside[None])[0] > 0:
            assert contains(snapped, inside)
        assert (snapped >= 0).all()
        assert (snapped[:, [0, 2]] <= width).all()
        assert (snapped[:, [1, 3]] <= height).all()


def moving(frames: int, speed: float) -> np.ndarray:
    """A face that nods and sways: boxes [T, 4]."""
    time = np.arange(frames)
    x = 120 + 60 * np.sin(time * speed)
    y = 90 + 20 * np.cos(time * speed * 1.7)
    return np.stack([x, y, x + 50, y + 64], axis=1)


def covered_share(truth: np.ndarray, found: dict[int, np.ndarray], fps: float = 25.0) -> float:
    """The least share of a true box that is masked, over all frames."""
    empty = Bodies(poses={}, heads={})
    times = np.arange(len(truth)) / fps
    made = cover_clip(FaceTracks(found), empty, [], PolicyConfig(), times=times, size=(320, 240))
    shares = []
    for true, regions in zip(truth.astype(int), made.regions, strict=True):
        grid = np.zeros((240, 320), dtype=bool)
        for left, top, right, bottom in regions:
            grid[top:bottom, left:right] = True
        shares.append(grid[true[1] : true[3], true[0] : true[2]].mean())
    return float(min(shares))


@pytest.mark.parametrize("speed", [0.0, 0.05, 0.15])
def test_dropped_detections_uncover_nothing(speed: float) -> None:
    truth = moving(150, speed)
    random = np.random.default_rng(0)
    full = {frame: truth[frame][None] for frame in sampled(len(truth), 3)}
    some = {frame: boxes if random.random() > 0.1 else boxes[:0] for frame, boxes in full.items()}
    assert covered_share(truth, full) >= 0.99
    assert covered_share(truth, some) >= 0.99


@pytest.mark.parametrize("speed", [0.0, 0.03, 0.06])
def test_a_track_seen_a_third_of_a_second_late_is_covered_from_its_start(speed: float) -> None:
    truth = moving(150, speed)
    found = {frame: truth[frame][None] if frame >= 8 else np.zeros((0, 4)) for frame in sampled(150, 3)}
    assert covered_share(truth, found) >= 0.95


def test_a_gap_of_half_a_second_is_bridged() -> None:
    truth = moving(150, 0.05)
    found = {frame: truth[frame][None] for frame in sampled(150, 3)}
    found |= {frame: found[frame][:0] for frame in found if 60 <= frame < 73}
    assert covered_share(truth, found) >= 0.95


def test_two_people_crossing_are_both_covered() -> None:
    left, right = moving(90, 0.05), moving(90, 0.05)[::-1] + 30
    found = {frame: np.stack([left[frame], right[frame]]) for frame in sampled(90, 3)}
    assert covered_share(left, found) >= 0.99
    assert covered_share(right, found) >= 0.99


def test_no_detection_means_no_cover() -> None:
    found = FaceTracks({0: np.zeros((0, 4))})
    made = cover_clip(found, Bodies({}, {}), [], PolicyConfig(), times=np.arange(5) / 25, size=(64, 64))
    assert all(len(regions) == 0 for regions in made.regions)
    assert (made.face_frames, made.uncertain, made.tracks) == (0, 0, 0)


def test_no_track_runs_across_a_cut_and_both_sides_are_held() -> None:
    found = {frame: np.array([[10.0, 10, 60, 60]]) for frame in (0, 3, 6)}
    found |= {frame: np.array([[20.0, 12, 70, 62]]) for frame in (9, 12)}
    linked = link(found, max_gap=30, cuts=(8,))
    assert [track.frames.tolist() for track in linked] == [[0, 3, 6], [9, 12]]
    assert len(link(found, max_gap=30)) == 1
    made = cover_clip(
        FaceTracks(found, cuts=(8,)), Bodies({}, {}), [], PolicyConfig(), times=np.arange(14) / 25, size=(96, 96)
    )
    assert all(len(regions) for regions in made.regions)


def test_spans_in_seconds_only_grow_under_a_variable_rate() -> None:
    times = np.concatenate([np.arange(50) / 50, 1 + np.arange(50) / 5])
    found = FaceTracks({frame: np.array([[10.0, 10, 60, 60]]) for frame in (30, 33)})
    made = cover_clip(found, Bodies({}, {}), [], PolicyConfig(), times=times, size=(96, 96))
    shown = times[[number for number, regions in enumerate(made.regions) if len(regions)]]
    assert shown[0] <= times[30] - 0.4
    assert shown[-1] >= times[33] + 0.4


def test_captions_and_whole_frames_are_part_of_the_cover() -> None:
    times = np.arange(12) / 4
    text = [np.array([[4.0, 70, 60, 90]]) if frame >= 6 else np.zeros((0, 4)) for frame in range(12)]
    made = cover_clip(FaceTracks({}), Bodies({}, {}), text, PolicyConfig(), times=times, size=(96, 96))
    assert [len(regions) for regions in made.regions] == [0] * 6 + [1] * 6
    assert made.caption_frames == 6
    made = cover_clip(FaceTracks({}, dark=(2, 3)), Bodies({}, {}), [], PolicyConfig(), times=times, size=(96, 96))
    assert [regions.tolist() for regions in made.regions] == [
        [[0, 0, 96, 96]] * (frame in (2, 3)) for frame in range(12)
    ]
    assert made.dark_frames == 2
    lost = Pose(points=np.full((33, 2), 48.0), confidence=np.zeros(33), score=0.9)
    bodies = Bodies({0: lost, 4: lost, 8: lost}, {})
    policy = PolicyConfig(uncertain="frame", mask_heads=False)
    made = cover_clip(FaceTracks({}), bodies, [], policy, times=times, size=(96, 96))
    assert made.uncertain == 3
    assert all(regions.tolist() == [[0, 0, 96, 96]] for regions in made.regions)


@pytest.mark.parametrize(
    ("face", "uncertain"),
    [([20.0, 20, 80, 90], 0), ([62.0, 20, 110, 90], 1), ([30.0, 66, 70, 110], 1), ([44.0, 44, 52, 52], 1)],
    ids=["its own", "beside it", "on the chest", "a speck"],
)
def test_a_head_is_clear_by_its_own_face_alone(face: list[float], uncertain: int) -> None:
    points = np.full((33, 2), 90.0)
    points[:11] = [50, 50] + 18 * np.stack([np.cos(np.arange(11)), np.sin(np.arange(11))], axis=1)
    lost = Pose(points=points, confidence=np.full(33, 0.2), score=0.9)
    found = FaceTracks({0: np.array([face])})
    made = cover_clip(found, Bodies({0: lost}, {}), [], PolicyConfig(), times=np.zeros(1), size=(128, 128))
    assert made.uncertain == uncertain
