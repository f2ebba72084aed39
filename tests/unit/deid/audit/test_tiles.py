import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.deid.audit.detectors import FullRange
from deemo_dist.deid.audit.faces import SURE
from deemo_dist.deid.audit.tiles import ROUND, SIDE, TileWatch, tiles
from tests.unit.deid.scenes import entering


@settings(max_examples=40, deadline=None)
@given(st.integers(16, 2160), st.integers(16, 3840))
def test_tiles_cover_the_frame_and_stay_inside(height: int, width: int) -> None:
    every = tiles(height, width)
    assert every[-1] == (0, 0, width, height)
    assert all(0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height for x0, y0, x1, y1 in every)
    smallest = [tile for tile in every if max(tile[2] - tile[0], tile[3] - tile[1]) <= SIDE] or every
    seen = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in smallest:
        seen[y0:y1, x0:x1] = True
    assert seen.all()


def test_a_round_shows_every_tile_once_and_a_short_clip_all_of_them_too() -> None:
    shown: list[tuple[int, ...]] = []

    def detector(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shown.append((int(frame[0, 0, 0]), int(frame[0, 0, 1]), *frame.shape[:2]))
        return np.zeros((0, 4)), np.zeros(0)

    frame = np.stack([*np.mgrid[0:540, 0:960] // 4, np.zeros((540, 960))], axis=-1).astype(np.uint8)
    watch, every = TileWatch(detector), tiles(540, 960)
    for _ in range(ROUND):
        watch(frame)
    assert watch.whole
    assert len(shown) == len(set(shown)) == len(every)
    watch(frame)
    assert not watch.whole
    watch.all_of(frame)
    assert watch.whole
    assert len(shown) == 2 * len(every)


@pytest.mark.slow
@pytest.mark.parametrize("size", [24, 48, 90, 120])
def test_the_audit_sees_real_faces_of_any_size_in_1080p(size: int) -> None:
    frame, box = next(entering("clip-single-face", size, frames=1, enters=0))
    assert box is not None
    looks = TileWatch(FullRange()).all_of(frame)
    boxes, scores = (np.concatenate([getattr(look, name) for look in looks]) for name in ("boxes", "scores"))
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert scores[((middle > box[:2]) & (middle < box[2:])).all(axis=1)].max() >= SURE
