"""Who is in the clip: poses of the main person over time, and the heads of everybody."""

from dataclasses import dataclass, field

import numpy as np

from deemo_dist.deid import geometry
from deemo_dist.deid.body.hands import Hand, HandFollower, HandTracker, PalmDetector
from deemo_dist.deid.body.pose import PersonDetector, Pose, PoseTracker, Region, head_box
from deemo_dist.deid.faces.cuts import CutWatch

POSE_SECONDS = 1 / 4
"""Chosen on what it costs and shows: see the benchmark of rates in ``tests/unit/deid/body/test_people.py``. Hands that
beat twice a second are still seen to."""

PEOPLE_SECONDS = 2.0
COMPANY_SECONDS = 0.5  # between counts while others than the main person are in sight
REMEMBER_SECONDS = 5.0
SLACK = 0.03  # seconds: a look may come this much early, so that frame times need not divide the period


@dataclass(frozen=True)
class Bodies:
    """``poses`` and ``heads`` (float64 [0 or 1, 4]) of the main person by frame looked at; ``others``: heads of
    everybody else (float64 [N, 4]) by frame in which all were counted; ``hands`` of the main person by frame, as far
    as they are large enough.

    ``breaks``: frames at which the main person may be another one than before: nothing is interpolated across.
    """

    poses: dict[int, Pose]
    heads: dict[int, np.ndarray]
    hands: dict[int, tuple[Hand, ...]] = field(default_factory=dict)
    others: dict[int, np.ndarray] = field(default_factory=dict)
    breaks: frozenset[int] = field(default_factory=frozenset)


class Beat:
    """Moments ``period`` seconds apart. What is early by ``SLACK`` counts, and does not make the next one earlier;
    times that jump (a cut, a broken clock) begin a new count."""

    def __init__(self, period: float) -> None:
        self.period = period
        self.last = self.due = -np.inf

    def is_due(self, time: float) -> bool:
        """Whether a moment has come, or the clock went back."""
        return bool(time >= self.due - SLACK or time < self.last)

    def take(self, time: float) -> None:
        """Note that it was taken at ``time``."""
        in_step = self.due - SLACK <= time < self.due + self.period - SLACK
        self.due = (self.due if in_step else time) + self.period
        self.last = time


class BodyModels:
    """The networks of the body, loaded once in a process; every clip has a :class:`BodyScan` of its own."""

    def __init__(self) -> None:
        self.people = PersonDetector()
        self.poses = PoseTracker()
        self.palms = PalmDetector()
        self.hands = HandTracker()


class BodyScan:
    """Finds the bodies of one clip, frame by frame: poses every ``POSE_SECONDS`` and near the end, the heads of
    everybody every ``PEOPLE_SECONDS`` (``COMPANY_SECONDS`` while there are several), on both sides of a cut, in the
    last frame, and wherever the main person is not in sight."""

    def __init__(self, models: BodyModels) -> None:
        self._models = models
        self._follower = HandFollower(models.palms, models.hands)
        self._cut = CutWatch()
        self._poses: dict[int, Pose] = {}
        self._heads: dict[int, np.ndarray] = {}
        self._others: dict[int, np.ndarray] = {}
        self._hands: dict[int, tuple[Hand, ...]] = {}
        self._breaks: set[int] = set()
        self._region: Region | None = None
        self._known: tuple[float, Region] | None = None  # where and when the main person was last
        self._looks, self._counts = Beat(POSE_SECONDS), Beat(PEOPLE_SECONDS)
        self._last: tuple[int, float, np.ndarray] | None = None

    def see(self, number: int, time: float, frame: np.ndarray) -> None:
        """Take the next frame (uint8 [H, W, 3] RGB, unchanged until after the next call) at ``time`` seconds."""
        cut = self._cut(frame)
        if cut:
            self._close()
            self._region = None
        self._last = (number, time, frame)
        if cut or self._looks.is_due(time):
            self._look(number, time, frame)

    def finish(self) -> Bodies:
        """What was found in all frames."""
        self._close()
        self._last = None
        return Bodies(
            poses=self._poses,
            heads=self._heads,
            hands=self._hands,
            others=self._others,
            breaks=frozenset(self._breaks),
        )

    def _close(self) -> None:
        """The last frame of a scene: looked at if the last look is a while ago, and everybody in it counted."""
        if self._last is None:
            return
        number, time, frame = self._last
        if abs(time - self._looks.last) >= POSE_SECONDS / 2 + SLACK:
            self._look(number, time, frame)
        if number not in self._others:
            self._count(number, time, frame)
            self._note(number, time)

    def _look(self, number: int, time: float, frame: np.ndarray) -> None:
        self._looks.take(time)
        counted = self._region is None or self._counts.is_due(time)
        if counted:
            regions = self._count(number, time, frame)
            self._region = self._region or self._main(number, time, regions)
        tracked = self._models.poses(frame, self._region) if self._region else None
        self._region = tracked[1] if tracked else None
        if tracked:
            self._poses[number] = tracked[0]
            self._known = (time, tracked[1])
            if hands := self._follower(time, frame, tracked[0]):
                self._hands[number] = hands
        self._heads[number] = head_box(tracked[0])[None] if tracked else np.zeros((0, 4))
        if counted:
            self._note(number, time)

    def _count(self, number: int, time: float, frame: np.ndarray) -> list[Region]:
        """The regions of everybody in the frame; their heads are noted."""
        self._others[number], regions = self._models.people(frame)
        return regions

    def _note(self, number: int, time: float) -> None:
        """Leave out what is centred on the main person's head, where it was last; count again soon if others remain."""
        main = self._heads[max(self._heads)] if self._heads else np.zeros((0, 4))
        seen = self._others[number]
        middle = (seen[:, :2] + seen[:, 2:]) / 2
        self._others[number] = seen[~geometry.within(middle, main)]
        self._counts.period = COMPANY_SECONDS if len(self._others[number]) else PEOPLE_SECONDS
        self._counts.take(time)

    def _main(self, number: int, time: float, regions: list[Region]) -> Region | None:
        """The person last seen, if somebody is where they were a moment ago; else the largest in the frame."""
        if not regions:
            return None
        if self._known and abs(time - self._known[0]) <= REMEMBER_SECONDS:
            before = self._known[1]
            nearest = min(regions, key=lambda region: np.hypot(region.x - before.x, region.y - before.y))
            if np.hypot(nearest.x - before.x, nearest.y - before.y) <= 0.5 * before.side:
                return nearest
        if self._poses:
            self._breaks.add(number)
        return max(regions, key=lambda region: region.side)
