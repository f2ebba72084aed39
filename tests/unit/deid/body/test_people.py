"""The scan of a clip: looks by time, the main person stays the same, heads of everybody, hands where they are large."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.config import PolicyConfig
from deemo_dist.deid.body.hands import HandFollower
from deemo_dist.deid.body.people import (
    COMPANY_SECONDS,
    PEOPLE_SECONDS,
    POSE_SECONDS,
    SLACK,
    Bodies,
    BodyModels,
    BodyScan,
)
from deemo_dist.deid.body.pose import Pose, Region, head_box
from deemo_dist.deid.faces.cover import cover_clip
from deemo_dist.deid.faces.scan import FaceTracks
from deemo_dist.weights import fetch
from tests.unit.deid.body.stand_ins import figure

FRAME = np.zeros((240, 640, 3), dtype=np.uint8)


@dataclass
class Scene:
    """Stands in for the networks: people by where they are at each time, seen where the region meets them."""

    places: dict[float, list[float]]  # x of the people, from a time on
    now: float = 0.0
    asked: list[float] = field(default_factory=list)
    posed: list[float] = field(default_factory=list)

    def here(self) -> list[float]:
        return self.places[max(time for time in self.places if time <= self.now)]

    def people(self, frame: np.ndarray) -> tuple[np.ndarray, list[Region]]:
        self.asked.append(self.now)
        boxes = np.array([[x - 20, 40, x + 20, 90] for x in self.here()]).reshape(-1, 4)
        # the order is the detector's: not to be relied on
        return boxes, [Region(x, 120, 200 - place, 0.0) for place, x in enumerate(self.here())][::-1]

    def poses(self, frame: np.ndarray, region: Region) -> tuple[Pose, Region] | None:
        self.posed.append(self.now)
        near = [x for x in self.here() if abs(x - region.x) < 60]
        if not near:
            return None
        points = figure() + np.array([near[0] - 100, 0])
        return Pose(points, np.full(33, 0.9), 0.9), Region(near[0], 120, region.side, 0.0)

    def palms(self, frame: np.ndarray) -> list[Region]:
        return []

    def hands(self, frame: np.ndarray, region: Region) -> None:
        return None


def scanned(scene: Scene, times: list[float]) -> Bodies:
    scan = BodyScan(scene)  # type: ignore[arg-type]
    for number, scene.now in enumerate(times):
        scan.see(number, scene.now, FRAME)
    return scan.finish()


def main_x(bodies: Bodies) -> dict[int, float]:
    return {number: float(pose.points[0, 0]) for number, pose in bodies.poses.items()}


@pytest.mark.parametrize("fps", [1, 8, 25, 60])
def test_looks_go_by_time_whatever_the_frame_rate(fps: int) -> None:
    scene = Scene({0.0: [100.0]})
    scanned(scene, [number / fps for number in range(4 * fps)])
    assert len(scene.posed) <= 4 / POSE_SECONDS + 1
    gaps = [late - early for early, late in itertools.pairwise(scene.posed)]
    assert max(gaps) <= max(1 / fps, POSE_SECONDS + 1 / fps)
    beats = len(np.arange(0.0, 4 - 1 / fps + SLACK, PEOPLE_SECONDS))
    assert beats <= len(scene.asked) <= beats + 1
    assert scene.asked[-1] == (4 * fps - 1) / fps


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.001, 0.6), min_size=1, max_size=60))
def test_uneven_times_leave_no_long_stretch_without_a_look(steps: list[float]) -> None:
    times = list(np.cumsum(steps))
    bodies = scanned(Scene({0.0: [100.0]}), times)
    looked = [times[number] for number in sorted(bodies.heads)]
    assert looked[0] == times[0]
    assert times[-1] - looked[-1] < POSE_SECONDS / 2 + SLACK
    for early, late in itertools.pairwise(looked):
        between = [time for time in times if early < time < late]
        assert not between or between[-1] - early < POSE_SECONDS


def test_the_largest_is_the_main_person_and_stays_it_when_another_comes() -> None:
    scene = Scene({0.0: [100.0, 400.0], 1.0: [100.0], 2.0: [100.0, 300.0]})
    bodies = scanned(scene, [number / 8 for number in range(32)])
    assert set(main_x(bodies).values()) == {100.0}
    assert not bodies.breaks
    assert (len(bodies.heads[0]), len(bodies.others[0])) == (1, 1)


def test_a_person_lost_for_a_moment_is_found_again_and_not_exchanged() -> None:
    scene = Scene({0.0: [100.0, 400.0], 1.0: [400.0], 1.1: [130.0, 400.0]})
    bodies = scanned(scene, [number / 10 for number in range(30)])
    assert set(main_x(bodies).values()) == {100.0, 130.0}
    assert not bodies.breaks


def test_another_person_is_a_break() -> None:
    scene = Scene({0.0: [100.0], 1.0: [], 2.0: [500.0]})
    bodies = scanned(scene, [number / 8 for number in range(32)])
    assert list(bodies.breaks) == [min(number for number, x in main_x(bodies).items() if x == 500.0)]


def test_nobody_and_no_frames_are_no_bodies() -> None:
    scan = BodyScan(Scene({0.0: []}))  # type: ignore[arg-type]
    assert scan.finish() == Bodies({}, {})
    bodies = scanned(Scene({0.0: []}), [0.0])
    assert bodies.poses == {}
    assert bodies.heads[0].shape == bodies.others[0].shape == (0, 4)


def test_heads_of_others_stand_beside_the_main_one() -> None:
    bodies = scanned(Scene({0.0: [100.0, 400.0]}), [0.0])
    assert np.array_equal(bodies.heads[0][0], head_box(bodies.poses[0]))
    assert bodies.others[0].tolist() == [[380, 40, 420, 90]]


def test_a_head_that_only_touches_the_main_one_is_anothers() -> None:
    bodies = scanned(Scene({0.0: [100.0, 135.0]}), [0.0])
    (other,) = bodies.others[0]
    assert other[0] < bodies.heads[0][0][2]
    assert other.tolist() == [115, 40, 155, 90]


def test_in_company_everybody_is_counted_more_often() -> None:
    scene = Scene({0.0: [100.0, 400.0], 4.0: [100.0]})
    scanned(scene, [number / 25 for number in range(250)])
    counts = np.diff([time for time in scene.asked if time < 4])
    assert counts.max() <= COMPANY_SECONDS + POSE_SECONDS
    assert len([time for time in scene.asked if time > 5]) <= 4


def test_both_sides_of_a_cut_and_the_last_frame_are_counted() -> None:
    scene = Scene({0.0: [100.0], 1.2: [130.0, 400.0]})
    scan = BodyScan(scene)  # type: ignore[arg-type]
    for number in range(67):
        scene.now = number / 30
        scan.see(number, scene.now, FRAME if number < 36 else np.full_like(FRAME, 200))
    bodies = scan.finish()
    assert {0, 35, 36, 66} <= set(bodies.others)
    assert {35, 36, 66} <= set(bodies.heads)


@pytest.mark.parametrize("frames", [57, 177])
@pytest.mark.parametrize("speed", [0.0, 40.0])
def test_the_head_of_another_is_masked_from_beginning_to_end(frames: int, speed: float) -> None:
    """Pixels a second that the other one walks; a clip that ends between two counts."""
    scene = Scene({})
    scan = BodyScan(scene)  # type: ignore[arg-type]
    for number in range(frames):
        scene.now = number / 30
        scene.places = {0.0: [100.0, 300.0 + speed * scene.now]}
        scan.see(number, scene.now, FRAME)
    times = np.arange(frames) / 30
    made = cover_clip(FaceTracks({}), scan.finish(), [], PolicyConfig(), times=times, size=(640, 240))
    for number, regions in enumerate(made.regions):
        x = 300.0 + speed * number / 30
        assert any(left <= x - 20 and right >= x + 20 for left, _, right, _ in regions), number


def test_who_comes_between_two_counts_is_masked_from_the_count_before() -> None:
    scene = Scene({0.0: [100.0], 1.0: [100.0, 400.0], 2.9: [100.0]})
    bodies = scanned(scene, [number / 30 for number in range(177)])
    times = np.arange(177) / 30
    made = cover_clip(FaceTracks({}), bodies, [], PolicyConfig(), times=times, size=(640, 240))
    masked = [any(left <= 380 and right >= 420 for left, _, right, _ in regions) for regions in made.regions]
    assert all(masked[30:87])
    assert not any(masked[120:])


@pytest.fixture(scope="module")
def models() -> BodyModels:
    return BodyModels()


def real(models: BodyModels, name: str, *, start: float = 0.0, seconds: float = 3.0) -> Bodies:
    """The bodies of a stretch of a real clip."""
    import av

    scan = BodyScan(models)
    with av.open(str(fetch(name))) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if start <= frame.time < start + seconds:
                scan.see(number, frame.time, frame.to_ndarray(format="rgb24"))
    return scan.finish()


@pytest.mark.slow
def test_hands_at_the_face_of_a_real_close_up_are_seen(models: BodyModels) -> None:
    bodies = real(models, "clip-pexels", start=4.0, seconds=2.0)
    assert len(bodies.hands) >= 0.8 * len(bodies.poses)
    for number, (hand, *_) in bodies.hands.items():
        box = head_box(bodies.poses[number])
        tip = hand.points[[8, 12]].mean(axis=0)
        assert (tip > box[:2]).all() and (tip < box[2:]).all()
    assert not real(models, "clip-pexels", start=12.0, seconds=2.0).hands


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip-carphone", "clip-single-face"])
def test_no_hand_is_made_up_where_there_is_none(models: BodyModels, name: str) -> None:
    bodies = real(models, name)
    assert len(bodies.poses) >= 8
    assert not bodies.hands


@pytest.mark.slow
def test_a_scene_without_anybody_has_no_hands(models: BodyModels) -> None:
    """The clip's lettering is taken for a person, which masks more than need be; it has no hands."""
    assert not real(models, "clip-no-face").hands


def test_the_follower_gives_up_a_hand_that_went_elsewhere() -> None:
    from tests.unit.deid.body.stand_ins import hand

    seen = hand(size=30, at=(140, 60))
    calls: list[Region] = []

    def tracker(frame: np.ndarray, region: Region) -> object:
        calls.append(region)
        return seen if len(calls) <= 2 else None

    pose = Pose(figure(left=(140, 60)), np.full(33, 0.9), 0.9)
    follower = HandFollower(lambda frame: [], tracker)  # type: ignore[arg-type]
    big = Pose(pose.points * 3, pose.confidence, 0.9)
    found = follower(0.0, FRAME, big)
    assert [hand.side for hand in found] == [0]
    away = Pose(figure(left=(20, 200)) * 3, np.full(33, 0.9), 0.9)
    before = len(calls)
    assert follower(0.3, FRAME, away) == ()
    assert all(np.hypot(region.x - 420, region.y - 180) > region.side / 2 for region in calls[before:])
