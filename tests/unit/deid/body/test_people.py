"""The scan of a clip: looks by time, the main person stays the same, heads of everybody, hands where they are large."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.deid.body.hands import HandFollower
from deemo_dist.deid.body.people import PEOPLE_SECONDS, POSE_SECONDS, SLACK, Bodies, BodyModels, BodyScan
from deemo_dist.deid.body.pose import Pose, Region, head_box
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
    assert len(scene.asked) == len(np.arange(0.0, 4 - 1 / fps + SLACK, PEOPLE_SECONDS))


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
    assert len(bodies.heads[0]) == 2


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
    assert bodies.heads[0].shape == (0, 4)


def test_heads_of_others_stand_beside_the_main_one() -> None:
    bodies = scanned(Scene({0.0: [100.0, 400.0]}), [0.0])
    assert np.array_equal(bodies.heads[0][0], head_box(bodies.poses[0]))
    assert bodies.heads[0][1].tolist() == [380, 40, 420, 90]


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
