"""Regions of a clip with what the audit saw open added: in those frames alone, and in a copy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.deid.faces.mending import mended
from deemo_dist.deid.faces.openings import Opening

BEFORE = np.array([[0, 0, 4, 4]])


@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(-3, 25), st.integers(0, 9), st.integers(0, 90), st.integers(1, 40)), max_size=6),
)
def test_frames_of_an_opening_hide_all_of_it_and_others_stay_what_they_were(
    frames: int, rows: list[tuple[int, int, int, int]]
) -> None:
    openings = [Opening(first, first + more, np.array([at, 10.0, at + size, 30.0])) for first, more, at, size in rows]
    regions = [BEFORE] * frames
    made = mended(regions, openings, dilate=0.2, width=100, height=60)
    assert len(made) == frames
    assert all(boxes is BEFORE for boxes in regions)
    for number, boxes in enumerate(made):
        here = [opening for opening in openings if opening.first <= number <= opening.last]
        assert (boxes is BEFORE) == (not here)
        assert (boxes[:1] == BEFORE).all()
        grid = np.zeros((60, 100), bool)
        for x0, y0, x1, y1 in boxes:
            assert 0 <= x0 < x1 <= 100 and 0 <= y0 < y1 <= 60
            grid[y0:y1, x0:x1] = True
        for opening in here:
            x0, y0, x1, y1 = opening.box.astype(int)
            assert grid[y0:y1, x0 : min(100, x1)].all()
