import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deemo_dist.deid.audit.coverage import boxes_by_key, coverage, covered, filled, read_boxes
from deemo_dist.deid.faces import masking
from deemo_dist.errors import DatasetError
from deemo_dist.media import decode_frames, encode_video
from tests.unit.deid.conftest import make_clip

HEAD = "clip,frame,x0,y0,x1,y1\n"


def test_the_fill_is_known_again_after_encoding() -> None:
    random = np.random.default_rng(0)
    frames = np.repeat(random.integers(60, 220, (1, 12, 16, 3), dtype=np.uint8), 8, axis=0)
    frames = frames.repeat(8, axis=1).repeat(8, axis=2)
    masked = masking.mask(frames, [np.array([[32, 16, 80, 72]])] * 8, kind="fill")
    released = decode_frames(encode_video(masked, 25.0), np.arange(8))
    assert covered(np.array([36.0, 20.0, 76.0, 68.0]), filled(released[5])) > 0.99
    assert covered(np.array([0.0, 0.0, 30.0, 90.0]), filled(released[5])) < 0.05
    assert covered(np.array([16.0, 16.0, 48.0, 72.0]), filled(released[5])) == pytest.approx(0.5, abs=0.05)


def test_a_box_outside_the_frame_has_nothing_to_cover() -> None:
    assert covered(np.array([-20.0, -20.0, -1.0, -1.0]), np.zeros((8, 8), dtype=bool)) == 1.0


def test_boxes_are_read_by_clip_and_frame() -> None:
    found = read_boxes(HEAD + "a.mp4,0,1,2,3,4\na.mp4,0,5,6,7,8\nb.mp4,12,0,0,9.5,9\n", "truth.csv")
    assert found["a.mp4"][0].shape == (2, 4)
    assert found["b.mp4"][12].tolist() == [[0, 0, 9.5, 9]]


@pytest.mark.parametrize(
    "row", ["a.mp4,0,1,2,3", "a.mp4,x,1,2,3,4", "a.mp4,0,3,2,1,4", "a.mp4,-1,1,2,3,4", "a.mp4,0,nan,2,3,4"]
)
def test_a_bad_row_is_named_by_its_line(row: str) -> None:
    with pytest.raises(DatasetError, match=r"truth.csv, line 3"):
        read_boxes(HEAD + "a.mp4,0,1,2,3,4\n" + row + "\n", "truth.csv")


@pytest.mark.parametrize("row", ["0,1,2,3,4", "0,1,2,3,4,", "0,1,2,3,4,  "])
def test_a_box_without_a_clip_is_named_by_its_line(row: str) -> None:
    with pytest.raises(DatasetError, match=r"truth.csv, line 3: no clip"):
        read_boxes(f"frame,x0,y0,x1,y1,clip\n0,1,2,3,4,a.mp4\n{row}\n", "truth.csv")


def test_another_file_is_no_boxes_file() -> None:
    with pytest.raises(DatasetError, match="no boxes file"):
        read_boxes("name,age\nx,3\n", "people.csv")


def test_the_bound_says_how_little_so_many_boxes_show() -> None:
    found = coverage([1.0] * 299 + [0.9])
    assert found is not None
    assert (found.boxes, found.least, found.under) == (300, 0.9, 1)
    assert found.bound == pytest.approx(0.00994, abs=1e-4)
    assert coverage([]) is None


CLIPS = {
    "k0": make_clip(uri="file:///raw/one/anna.mp4"),
    "k1": make_clip(uri="file:///raw/two/anna.mp4"),
    "k2": make_clip(uri="s3://raw/bea.avi"),
    "k3": make_clip(uri="s3://raw/bea.mp4"),
    "k4": make_clip(uri="s3://raw/cleo.mp4"),
}
ROWS: list[Any] = [SimpleNamespace(key=key, frames=100, width=64, height=48) for key in ("k0", "k1", "k2", "k3")]


def given(*rows: str) -> dict[str, dict[int, list[list[float]]]]:
    """Boxes by sample key and frame, of these rows."""
    read = read_boxes(HEAD + "".join(f"{row},0,0,9,9\n" for row in rows), "the boxes file")
    found = boxes_by_key(read, CLIPS, ROWS)
    return {key: {frame: boxes.tolist() for frame, boxes in frames.items()} for key, frames in found.items()}


def test_boxes_go_to_the_clip_that_is_named_whatever_the_ending() -> None:
    box = [[0.0, 0.0, 9.0, 9.0]]
    assert given("cleo.mp4,0", "cleo.mp4,7") == {"k4": {0: box, 7: box}}
    assert given("cleo,500", "bea.avi,0") == {"k4": {500: box}, "k2": {0: box}}
    assert given("one/anna.mp4,1", "two/anna,2") == {"k0": {1: box}, "k1": {2: box}}
    assert given() == {}


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (["dora.mp4,0", "cleo.mp4,0"], "1 of the clip names in the boxes file stand for no clip"),
        (["anna.mp4,0"], "stand for several clips"),
        (["bea,0"], "stand for several clips"),
        (["cleo,0", "cleo.mp4,1"], "2 of the clip names in the boxes file stand for a clip that another name"),
        (["bea.mp4,0", "bea.mp4,100"], "a box in frame 100 of sample k3, which has 100 frames"),
    ],
)
def test_boxes_that_would_be_lost_or_doubled_are_refused_without_a_name(rows: list[str], fault: str) -> None:
    with pytest.raises(DatasetError, match=fault) as caught:
        given(*rows)
    assert not any(name in str(caught.value) for name in ("anna", "bea", "cleo", "dora"))


def test_a_box_outside_of_the_picture_is_refused_and_not_covered() -> None:
    read = read_boxes(HEAD + "bea.avi,3,0,0,9,9\nbea.avi,3,64,0,80,9\n", "the boxes file")
    with pytest.raises(DatasetError, match="a box outside of frame 3 of sample k2, 64 x 48"):
        boxes_by_key(read, CLIPS, ROWS)
    with pytest.raises(DatasetError, match="--raw"):
        boxes_by_key(read, {}, ROWS)


def test_boxes_that_nobody_looked_at_are_counted_apart() -> None:
    some, none = coverage([1.0] * 8, given=10), coverage([], given=10)
    assert some is not None
    assert none is not None
    assert (some.boxes, some.unseen) == (8, 2)
    assert (none.boxes, none.unseen, none.bound) == (0, 10, 1.0)
    assert math.isnan(none.least)
