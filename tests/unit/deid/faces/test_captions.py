"""Burnt-in text that is small, shown for a moment, or moves: when it is looked for, and that it is covered."""

import numpy as np
import pytest

from deemo_dist.config import PolicyConfig
from deemo_dist.deid.faces.captions import KEPT, CaptionScan, held
from deemo_dist.deid.faces.fineprint import FinePrint, text_tiles
from deemo_dist.deid.faces.follow import Sweep, sweeps
from deemo_dist.deid.faces.strokes import BRIGHTER, CELL, DARKER, by_cell, fresh, steady, strokes

NAMES = ("Maria Gonzalez", "Thomas Okafor", "Li Na", "Anna-Lena Schmidt", "Omar Keller", "Priya Novak")
Places = list[tuple[int, int, int, int]]


def background(width: int, height: int) -> np.ndarray:
    """Soft shapes."""
    import cv2

    coarse = np.random.default_rng(0).integers(60, 190, (27, 48, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def written(picture: np.ndarray, names: list[tuple[str, int, int]], scale: float) -> tuple[np.ndarray, Places]:
    """``names`` (with their left and base line) in white on dark labels, and where their letters are."""
    import cv2

    shown, places = picture.copy(), Places()
    for name, left, base in names:
        (wide, high), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        cv2.rectangle(shown, (left - 5, base - high - 5), (left + wide + 5, base + 6), (30, 30, 40), -1)
        cv2.putText(shown, name, (left, base), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
        places.append((left, base - high, left + wide, base))
    return shown, places


def covered(place: tuple[int, int, int, int], boxes: np.ndarray) -> float:
    left, top, right, bottom = place
    grid = np.zeros((bottom - top, right - left), bool)
    for x0, y0, x1, y1 in np.clip(boxes - np.array([left, top] * 2), 0, None).astype(int):
        grid[y0:y1, x0:x1] = True
    return float(grid.mean())


class White:
    """A detector of the one white box in a picture; remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, int]] = []

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        self.shown.append((frame.shape[1], frame.shape[0]))
        rows, columns = np.nonzero(frame[..., 0] == 255)
        if not len(rows):
            return np.zeros((0, 4))
        return np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], dtype=np.float64)


def plate(left: int, top: int, size: tuple[int, int] = (320, 240), *, shown: bool = True) -> np.ndarray:
    """A grey picture with white bars, 40 x 24 pixels of them."""
    frame = np.full((size[1], size[0], 3), 90, np.uint8)
    if shown:
        frame[top : top + 24, left : left + 40 : 4] = 255
    return frame


def scanned(frames: list[np.ndarray], detector: White, rate: float = 25.0) -> list[np.ndarray]:
    scan = CaptionScan(PolicyConfig(), detector)
    for number, frame in enumerate(frames):
        scan.see(number, number / rate, frame)
    return scan.finish()


def test_strokes_are_where_a_pixel_differs_from_the_one_to_its_left() -> None:
    grey = np.full((40, 70), 100, np.uint8)
    grey[10:20, 30:40] = 160
    marks = strokes(grey)
    assert (marks[10:20, 30] == BRIGHTER).all()
    assert (marks[10:20, 40] == DARKER).all()
    assert np.count_nonzero(marks) == 20
    moved = np.roll(marks, 1, axis=1)
    assert not steady(marks, moved).any()
    assert (steady(marks, marks) == marks).all()
    assert fresh(marks, np.zeros_like(marks)).tolist() == [[10, 10, 0], [0, 0, 0]]
    assert not fresh(marks, marks).any()
    assert by_cell(np.ones((40, 70), bool)).tolist() == [[CELL**2, CELL**2, 6 * CELL], [8 * CELL, 8 * CELL, 48]]


@pytest.mark.parametrize(("start", "end"), [(26, 50), (27, 36), (2, 12)])
def test_what_is_shown_for_less_than_a_look_to_the_next_is_found(start: int, end: int) -> None:
    frames = [plate(100, 100, shown=start <= number < end) for number in range(76)]
    detector = White()
    boxes = scanned(frames, detector)
    assert all(covered((100, 100, 137, 124), boxes[number]) == 1.0 for number in range(start, end))
    assert sum(len(each) > 0 for each in boxes) < 66
    assert len(detector.shown) <= 8


def test_a_picture_that_stands_still_is_looked_at_as_seldom_as_ever_and_one_that_moves_hardly_more_often() -> None:
    still, moving = White(), White()
    scanned([plate(100, 100)] * 75, still)
    rng = np.random.default_rng(0)
    scanned([rng.integers(60, 200, (240, 320, 3), dtype=np.uint8) for _ in range(75)], moving)
    assert len(still.shown) == 4
    assert len(moving.shown) <= 8


@pytest.mark.parametrize("speed", [2, 5, -4])
def test_what_moves_is_covered_on_all_of_its_way(speed: int) -> None:
    lefts = [150 + speed * number for number in range(60)]
    frames = [plate(left, 100, (640, 240), shown=0 <= left <= 600) for left in lefts]
    for number, boxes in enumerate(scanned(frames, White())):
        if 0 <= lefts[number] <= 600:
            assert covered((lefts[number], 100, lefts[number] + 38, 124), boxes) > 0.95, number


def test_what_leaves_the_picture_goes_on_as_it_went_and_what_stands_still_has_no_way() -> None:
    copies = [(number, plate(100, 60 - 10 * number, shown=number < 6)[..., 0]) for number in range(9)]
    box = np.array([[100.0, 60, 140, 84]])
    found = sweeps(copies[0], box, copies[1:])
    assert [(each.start, each.end) for each in found] == [(number, number + 1) for number in range(8)]
    assert found[0].box.tolist() == [100, 50, 140, 84]
    assert found[-1].box[3] <= 24
    assert sweeps(copies[0], box, [copies[0]] * 3) == []
    assert sweeps((0, np.full((90, 90), 60, np.uint8)), box * 0.5, copies) == []


def test_ways_are_held_beside_looks() -> None:
    boxes = held([{0: np.zeros((0, 4))}], [Sweep(2, 4, np.array([1.0, 2, 3, 4]))], 6)
    assert [len(each) for each in boxes] == [0, 0, 1, 1, 1, 0]


def test_the_memory_of_copies_is_short() -> None:
    scan = CaptionScan(PolicyConfig(captions_seconds=60.0), White())
    for number in range(400):
        scan.see(number, number / 25, plate(10, 10, (64, 48)))
    assert len(scan._copies) <= KEPT


def test_tiles_of_a_large_frame_cover_it_and_share_a_rim() -> None:
    for width, height, count in ((1920, 1080, 6), (3840, 2160, 24), (1280, 720, 2)):
        tiles = text_tiles(width, height)
        grid = np.zeros((height, width), bool)
        for left, top, right, bottom in tiles:
            assert max(right - left, bottom - top) <= 736
            grid[top:bottom, left:right] = True
        assert grid.all()
        assert len(tiles) == count


def test_a_still_large_picture_is_looked_at_once_and_then_where_it_changes() -> None:
    detector = White()
    fine = FinePrint(detector, 0.5)
    size = (1920, 1080)
    come = [plate(900, 300, size, shown=20 <= number < 60) for number in range(100)]
    for number, frame in enumerate(come):
        if number % 3 == 0 or number == 99:
            fine.check(number, number / 25, frame, last=number == 99)
    boxes = held(fine.found, [], 100)
    assert all(covered((900, 300, 937, 324), boxes[number]) == 1.0 for number in range(20, 60))
    assert not any(len(each) for each in (*boxes[:12], *boxes[78:]))
    assert len(detector.shown) == 2
    assert max(wide * high for wide, high in detector.shown) <= 320 * 160


def test_where_everything_changes_tiles_wait_for_their_turn_and_are_masked_back_to_the_last() -> None:
    rng = np.random.default_rng(0)
    detector = White()
    fine = FinePrint(detector, 0.5)
    pictures = [np.repeat(rng.integers(0, 200, (1080, 480, 1), dtype=np.uint8), 4, axis=1) for _ in range(20)]
    for second, picture in enumerate(pictures):
        frame = np.repeat(picture, 3, axis=2)
        if second >= 8:
            frame[500:524, 700:740] = 255
        for step in range(3):
            fine.check(25 * second + 3 * step, second + 3 * step / 25, frame)
    pixels = sum(wide * high for wide, high in detector.shown)
    assert pixels <= 1.5 * 1920 * 1080 + 20 * 900_000
    assert len(detector.shown) >= 30
    boxes = held(fine.found, [], 500)
    assert all(covered((700, 500, 740, 524), boxes[number]) == 1.0 for number in range(200, 480))


def test_small_changes_elsewhere_take_no_turn_from_a_tile_that_changes_all_over() -> None:
    """A look every quarter of a second has a quarter of the pixels: too few for the whole tile, enough for the rest."""
    rng = np.random.default_rng(0)
    fine = FinePrint(White(), 0.25)
    busy, *others = text_tiles(1920, 1080)
    for turn in range(80):
        frame = np.full((1080, 1920, 3), 100, np.uint8)
        for left, top, right, bottom in (busy, *((x + 300, y + 240, x + 396, y + 336) for x, y, *_ in others)):
            cells = rng.integers(0, 200, ((bottom - top) // 4, (right - left) // 4, 1), dtype=np.uint8)
            frame[top : top + 4 * len(cells), left : left + 4 * cells.shape[1]] = cells.repeat(4, 0).repeat(4, 1)
        for step in range(2):
            fine.check(2 * turn + step, turn / 4 + step / 10, frame)
    looks = np.array(sorted(fine.found[0])) / 2 / 4
    assert looks[0] < 2
    assert np.diff(looks).max() <= 1.5
    assert looks[-1] > 18


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height", "scale"), [(1920, 1080, 0.35), (1920, 1080, 0.6), (3840, 2160, 0.5)])
def test_name_labels_in_large_pictures_are_covered_from_their_first_frame_to_their_last(
    width: int, height: int, scale: float
) -> None:
    from deemo_dist.deid.faces.text import PaddleText

    base = background(width, height)
    corners = [(x, y) for y in (0.45, 0.93) for x in (0.02, 0.52)]
    names = [(name, int(x * width), int(y * height)) for name, (x, y) in zip(NAMES[:4], corners, strict=True)]
    shown, places = written(base, names, scale)
    scan = CaptionScan(PolicyConfig(), PaddleText())
    for number in range(40):
        scan.see(number, number / 12, shown if 13 <= number < 30 else base)
    boxes = scan.finish()
    assert all(covered(place, boxes[number]) > 0.95 for number in range(13, 30) for place in places)
    assert not len(boxes[0])
    assert not len(boxes[39])


@pytest.mark.slow
@pytest.mark.parametrize("speed", [60, 90, 300])
def test_credits_are_covered_while_they_roll(speed: int) -> None:
    from deemo_dist.deid.faces.text import PaddleText

    width, height, count = 1280, 720, 24
    tall = np.full((height + 90 * count, width, 3), (20, 20, 30), np.uint8)
    lines = [(NAMES[number % len(NAMES)], 480, height // 2 + 90 * number) for number in range(count)]
    tall, places = written(tall, lines, 0.9)
    tops = [round(speed * number / 25) for number in range(76)]
    scan = CaptionScan(PolicyConfig(), PaddleText())
    for number, top in enumerate(tops):
        scan.see(number, number / 25, np.ascontiguousarray(tall[top : top + height]))
    for top, boxes in zip(tops, scan.finish(), strict=True):
        for x0, y0, x1, y1 in places:
            if y0 - top >= 10 and y1 - top <= height - 10:
                assert covered((x0, y0 - top, x1, y1 - top), boxes) > 0.9, (top, y0)
