"""Scans of faces and captions: when they look, what they look back at, and what follows from it."""

import numpy as np
import pytest

from deemo_dist.config import PolicyConfig
from deemo_dist.deid.body.people import Bodies
from deemo_dist.deid.faces.captions import CaptionScan, held
from deemo_dist.deid.faces.cover import cover_clip
from deemo_dist.deid.faces.cuts import CutWatch
from deemo_dist.deid.faces.scan import KEPT_BYTES, FaceModels, FaceScan, Found
from deemo_dist.deid.faces.text import text_boxes

NONE = (np.zeros((0, 4)), np.zeros(0))


class Marked:
    """A detector of the one white box in a frame; remembers which frames it was shown (their corner holds a number)."""

    def __init__(self, *, smallest: int = 1) -> None:
        self.seen: list[int] = []
        self.smallest = smallest

    def __call__(self, frame: np.ndarray) -> Found:
        self.seen.append(int(frame[-1, -1, 0]))
        rows, columns = np.nonzero((frame == 255).all(axis=2))
        if len(rows) < self.smallest**2:
            return NONE
        return np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1.0]]), np.array([0.9])


def frames_of(places: list[int | None], *, side: int = 24, size: int = 160) -> list[np.ndarray]:
    """Grey frames with a white box at x = place, or none."""
    made = []
    for number, place in enumerate(places):
        frame = np.full((size, size, 3), 90, np.uint8)
        if place is not None:
            frame[40 : 40 + side, place : place + side] = 255
        frame[-1, -1] = number
        made.append(frame)
    return made


def scanned(frames: list[np.ndarray], models: FaceModels, every: int = 3, rate: float = 25.0) -> FaceScan:
    scan = FaceScan(PolicyConfig(detect_every=every), models)
    for number, frame in enumerate(frames):
        scan.see(number, number / rate, frame)
    return scan


def one(detector: Marked, width: int = 320) -> FaceModels:
    return FaceModels(coarse=detector, fine=detector, width=width)


def test_a_quiet_clip_is_looked_at_now_and_then_and_at_its_end() -> None:
    detector = Marked()
    scan = scanned(frames_of([50] * 11), one(detector))
    assert sorted(scan.finish().boxes) == detector.seen == [0, 3, 6, 9, 10]


@pytest.mark.parametrize(
    ("rate", "every", "looked"),
    [
        (4, 3, [*range(11)]),
        (8, 3, [*range(11)]),
        (12, 3, [0, 2, 4, 6, 8, 10]),
        (24, 3, [0, 3, 6, 9, 10]),
        (4, 10, [*range(0, 11, 2)]),
    ],
)
def test_a_slow_clip_is_looked_at_as_often_a_second(rate: float, every: int, looked: list[int]) -> None:
    detector = Marked()
    scan = scanned(frames_of([50] * 11), one(detector), every, rate)
    assert sorted(scan.finish().boxes) == detector.seen == looked


@pytest.mark.parametrize("rate", [1, 2, 4, 7.9])
def test_a_face_in_one_frame_of_a_slow_clip_is_found(rate: float) -> None:
    for at in (1, 2, 4, 7):
        places: list[int | None] = [None] * 12
        places[at] = 50
        found = scanned(frames_of(places), one(Marked()), rate=rate).finish()
        assert [number for number, boxes in found.boxes.items() if len(boxes)] == [at]


def test_where_a_face_comes_or_goes_every_frame_is_looked_at() -> None:
    detector = Marked()
    found = scanned(frames_of([None] * 5 + [50] * 5 + [None] * 4), one(detector)).finish()
    assert {3, 4, 5, 6, 9, 10, 11, 12} <= set(found.boxes)
    assert [number for number, boxes in found.boxes.items() if len(boxes)] == [5, 6, 9]


def test_a_fast_face_is_looked_at_in_every_frame() -> None:
    found = scanned(frames_of([10, 15, 20, 25, 30, 35, 40]), one(Marked())).finish()
    assert sorted(found.boxes) == list(range(7))


def test_a_cut_is_seen_and_looked_at_from_both_sides() -> None:
    frames = frames_of([50] * 7)
    for frame in frames[4:]:
        frame[:-1] = 250 - frame[:-1]
    detector = Marked()
    found = scanned(frames, one(detector)).finish()
    assert found.cuts == (4,)
    assert {3, 4} <= set(found.boxes)


def test_flicker_and_movement_are_no_cuts() -> None:
    watch = CutWatch()
    rng = np.random.default_rng(0)
    assert not any(watch(rng.integers(60, 120, (90, 160, 3), dtype=np.uint8)) for _ in range(20))
    assert watch(np.full((90, 160, 3), 250, np.uint8))
    assert not watch(np.full((90, 160, 3), 250, np.uint8))


def test_small_faces_in_large_frames_are_found_and_followed_in_crops() -> None:
    places = [100 + 4 * number for number in range(40)]
    frames = frames_of(places, side=16, size=960)
    models = FaceModels(coarse=lambda frame: NONE, fine=Marked(), width=320)  # the scaled copy never shows them
    scan = scanned(frames, models)
    found = scan.finish()
    times = np.arange(40) / 25
    made = cover_clip(found, Bodies({}, {}), [], PolicyConfig(), times=times, size=(960, 960))
    for place, regions in zip(places, made.regions, strict=True):
        assert any(x0 <= place and x1 >= place + 16 and y0 <= 40 and y1 >= 56 for x0, y0, x1, y1 in regions)


def uncovered(places: list[int | None], *, side: int, every: int = 3) -> list[int]:
    """Frames of a large picture, 25 a second, in which a face too small for the scaled copy is not wholly masked."""
    frames = frames_of(places, side=side, size=960)
    scan = scanned(frames, FaceModels(coarse=lambda frame: NONE, fine=Marked(), width=320), every)
    times = np.arange(len(frames)) / 25
    made = cover_clip(scan.finish(), Bodies({}, {}), [], PolicyConfig(), times=times, size=(960, 960))
    return [
        number
        for number, (place, regions) in enumerate(zip(places, made.regions, strict=True))
        if place is not None
        and not any(x0 <= place and x1 >= place + side and y0 <= 40 and y1 >= 40 + side for x0, y0, x1, y1 in regions)
    ]


SLOW = [100 + 2 * number for number in range(80)]
STOPS = [100 + 6 * number for number in range(14)] + [184] * 66


@pytest.mark.parametrize("side", [16, 40])
@pytest.mark.parametrize("way", [SLOW, STOPS, SLOW[::-1]])
@pytest.mark.parametrize("enters", [3, 24, 26, 60])
def test_a_small_face_that_comes_between_two_finer_looks_is_covered_from_its_start(
    side: int, way: list[int], enters: int
) -> None:
    places: list[int | None] = [None] * enters + way[: 80 - enters]
    assert uncovered(places, side=side) == []


def test_a_small_face_that_goes_or_is_cut_away_is_covered_to_its_end() -> None:
    for last in (10, 29, 47):
        assert uncovered([*SLOW[:last], *[None] * (80 - last)], side=20) == []


def test_a_small_face_that_turns_away_is_held_to_the_next_finer_look() -> None:
    frames = frames_of([300] * 60, side=20, size=960)
    seen = Marked()

    def detector(frame: np.ndarray) -> Found:
        return NONE if 10 <= frame[-1, -1, 0] < 20 else seen(frame)

    def crops_and_looks(frame: np.ndarray) -> Found:
        return detector(frame) if len(frame) == 960 else NONE  # never found again in a crop

    scan = scanned(frames, FaceModels(coarse=lambda frame: NONE, fine=crops_and_looks, width=320))
    times = np.arange(60) / 25
    made = cover_clip(scan.finish(), Bodies({}, {}), [], PolicyConfig(), times=times, size=(960, 960))
    assert all(len(regions) for regions in made.regions)


def test_many_small_faces_are_not_looked_for_one_by_one() -> None:
    shown: list[int] = []

    def crowd(frame: np.ndarray) -> Found:
        shown.append(len(frame))
        x = np.arange(12) * 70.0
        return np.stack([x, x, x + 20, x + 20], axis=1), np.full(12, 0.9)

    found = scanned(frames_of([None] * 7, size=960), FaceModels(coarse=lambda f: NONE, fine=crowd, width=320)).finish()
    assert all(len(boxes) == 12 for boxes in found.boxes.values())
    assert set(shown) == {960}


def test_the_memory_of_frames_is_short() -> None:
    scan = scanned(frames_of([50] * 200), one(Marked()), every=4)
    assert len(scan._memory) <= 4
    assert not scan._kept
    large = np.zeros((1080, 1920, 3), np.uint8)
    scan = FaceScan(PolicyConfig(detect_every=1), FaceModels(coarse=lambda f: NONE, fine=lambda f: NONE, width=320))
    for number in range(24):
        scan.see(number, number / 25, large)
    assert len(scan._kept) == KEPT_BYTES // large.nbytes


def test_text_is_held_from_the_look_before_to_the_look_after() -> None:
    box = np.array([[1.0, 2, 3, 4]])
    boxes = held([{0: box[:0], 5: box, 10: box[:0], 12: box[:0]}], [], 13)
    assert [len(each) for each in boxes] == [1] * 11 + [0] * 2


def test_captions_are_looked_for_each_second_at_cuts_and_at_the_end() -> None:
    shown: list[int] = []

    def detector(frame: np.ndarray) -> np.ndarray:
        shown.append(int(frame[-1, -1, 0]))
        return np.zeros((0, 4))

    frames = frames_of([None] * 30)
    for frame in frames[13:]:
        frame[:-1, :, :] = 230
    scan = CaptionScan(PolicyConfig(), detector)
    for number, frame in enumerate(frames):
        scan.see(number, number / 10, frame)
    assert len(scan.finish()) == 30
    assert shown == [0, 10, 12, 13, 23, 29]
    kept = CaptionScan(PolicyConfig(captions="keep"), detector)
    kept.see(0, 0.0, frames[0])
    assert [len(boxes) for boxes in kept.finish()] == [0]
    assert shown[-1] == 29


def test_boxes_of_a_heat_map_are_grown_and_specks_left_out() -> None:
    heat = np.zeros((64, 128), np.float32)
    heat[20:28, 30:90] = 0.9
    heat[50, 50] = 0.9
    heat[40:46, 10:40] = 0.35
    boxes = text_boxes(heat)
    assert len(boxes) == 1
    left, top, right, bottom = boxes[0]
    assert left < 26 and top < 16 and right > 94 and bottom > 32


@pytest.mark.slow
def test_a_planted_lower_third_is_found_from_before_it_comes_to_after_it_goes() -> None:
    import cv2

    from deemo_dist.deid.faces.text import PaddleText
    from tests.unit.deid.conftest import footage

    raw = footage("clip-single-face", count=70).frames
    assert raw is not None
    height, width = raw.shape[1:3]
    frames = [frame.copy() for frame in raw]
    font, scale, place = cv2.FONT_HERSHEY_SIMPLEX, height / 400, (int(width * 0.03), int(height * 0.91))
    (wide, high), _ = cv2.getTextSize("ANNA KELLER", font, scale, 1)
    for frame in frames[20:50]:
        cv2.rectangle(frame, (0, int(height * 0.8)), (int(width * 0.6), int(height * 0.95)), (20, 40, 120), -1)
        cv2.putText(frame, "ANNA KELLER", place, font, scale, (255, 255, 255), 1, cv2.LINE_AA)
    scan = CaptionScan(PolicyConfig(), PaddleText())
    for number, frame in enumerate(frames):
        scan.see(number, number / 25, frame)
    boxes = scan.finish()
    for number in range(20, 50):
        covered = np.zeros((height, width), bool)
        for x0, y0, x1, y1 in np.clip(boxes[number], 0, None).astype(int):
            covered[y0:y1, x0:x1] = True
        assert covered[place[1] - high : place[1], place[0] : place[0] + wide].mean() > 0.95, number


def test_a_second_look_at_the_last_frame_takes_nothing_away() -> None:
    """Only the finer copy shows a face, large enough not to be followed in crops; the look at the end, from afar too,
    is made without it."""
    box, sure = np.array([[40.0, 40.0, 90.0, 90.0]]), np.array([0.9])
    models = FaceModels(
        coarse=lambda frame: NONE, fine=lambda frame: (box, sure), width=80, far=(lambda frame: NONE,)
    )  # fmt: skip
    scan = FaceScan(PolicyConfig(detect_every=1), models)
    frames = frames_of([None] * 2, size=160)
    scan.see(0, 0.0, frames[0])
    scan._fine_at = -np.inf
    scan._far._at = 0.0
    scan.see(1, 0.04, frames[1])
    assert scan._far.wants(1)
    assert scan.finish().boxes[1].shape == (1, 4)
