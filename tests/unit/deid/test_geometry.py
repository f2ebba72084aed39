"""The small geometry of boxes: what it must hold for any of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.deid import geometry

SIDE = st.integers(0, 24)


@st.composite
def boxes(draw: st.DrawFn) -> np.ndarray:
    """Boxes float64 [N, 4], some empty; more than are compared all with all at times."""
    corners = draw(st.lists(st.tuples(SIDE, SIDE, SIDE, SIDE), max_size=12)) * draw(st.sampled_from([1, 1, 9]))
    low = np.array([[x, y] for x, y, _, _ in corners], np.float64).reshape(-1, 2)
    sides = np.array([[w, h] for _, _, w, h in corners], np.float64).reshape(-1, 2)
    return np.concatenate([low, low + sides], axis=1)


@given(boxes(), st.sampled_from([0.0, 0.3, 0.9]), st.randoms(use_true_random=False))
def test_what_is_kept_is_apart_and_what_is_not_overlaps_something_better(found, overlap, random) -> None:
    scores = np.array([random.random() for _ in found])
    kept = geometry.suppress(found, scores, overlap).tolist()
    assert [scores[number] for number in kept] == sorted((scores[number] for number in kept), reverse=True)
    shared = geometry.iou(found, found)
    for place, number in enumerate(kept):
        assert all(shared[number, better] <= overlap for better in kept[:place])
    for number in set(range(len(found))) - set(kept):
        assert any(shared[number, better] > overlap and scores[better] >= scores[number] for better in kept)


@given(boxes())
def test_boxes_share_no_more_than_either_has(found) -> None:
    shared, size = geometry.intersection(found, found), geometry.area(found)
    assert (shared <= np.minimum(size[:, None], size[None])).all()
    assert np.array_equal(np.diag(shared), size)
    assert (geometry.area(found[:, [2, 3, 0, 1]]) >= 0).all()
