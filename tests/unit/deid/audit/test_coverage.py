import numpy as np
import pytest

from deemo_dist.deid.audit.coverage import coverage, covered, filled, read_boxes
from deemo_dist.deid.faces import masking
from deemo_dist.errors import DatasetError
from deemo_dist.media import decode_frames, encode_video

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


def test_another_file_is_no_boxes_file() -> None:
    with pytest.raises(DatasetError, match="no boxes file"):
        read_boxes("name,age\nx,3\n", "people.csv")


def test_the_bound_says_how_little_so_many_boxes_show() -> None:
    found = coverage([1.0] * 299 + [0.9])
    assert found is not None
    assert (found.boxes, found.least, found.under) == (300, 0.9, 1)
    assert found.bound == pytest.approx(0.00994, abs=1e-4)
    assert coverage([]) is None
