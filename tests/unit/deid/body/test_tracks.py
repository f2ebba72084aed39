"""Between looks: linear; beyond them, across gaps and people: nothing claimed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.deid.body.tracks import GAP_SECONDS, Looks, between


def looks(seconds: list[float], person: list[int] | None = None) -> Looks:
    count = len(seconds)
    return Looks(
        seconds=np.array(seconds),
        points=np.zeros((count, 1, 2)),
        confidence=np.ones((count, 1)),
        person=np.array(person or [0] * count),
    )


def test_between_looks_is_linear_and_beyond_has_no_confidence() -> None:
    values = np.array([[[0.0, 0.0, 1.0]], [[4.0, 8.0, 0.5]]])
    dense = between(looks([0.2, 0.6]), values, np.array([-0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9]))
    assert np.allclose(dense[4, 0], [2.0, 4.0, 0.75])
    assert np.allclose(dense[2, 0], [0.0, 0.0, 1.0])
    assert dense[0, 0, 2] == dense[8, 0, 2] == 0.0
    assert dense[1, 0].tolist() == [0.0, 0.0, 1.0]
    assert dense[8, 0, :2].tolist() == [4.0, 8.0]


def test_uneven_times_are_taken_as_they_are() -> None:
    values = np.array([[[0.0, 1.0]], [[10.0, 1.0]]])
    dense = between(looks([0.0, 1.0]), values, np.array([0.0, 0.1, 0.15, 0.9, 1.0]))
    assert np.allclose(dense[:, 0, 0], [0, 1, 1.5, 9, 10])


def test_nothing_is_claimed_in_a_gap_or_between_two_people() -> None:
    values = np.array([[[0.0, 1.0]], [[1.0, 1.0]]])
    times = np.linspace(0, 2, 9)
    gap = between(looks([0.0, GAP_SECONDS + 1]), values, times)
    assert gap[:, 0, 1].tolist() == [1.0, *[0.0] * 7, 1.0]
    people = between(looks([0.0, 0.5], [0, 1]), values, np.array([0.0, 0.2, 0.5]))
    assert people[:, 0, 0].tolist() == [0.0, 0.0, 1.0]
    assert people[:, 0, 1].tolist() == [1.0, 0.0, 1.0]


@given(
    st.lists(st.floats(0, 20), min_size=1, max_size=8, unique=True).map(sorted),
    st.lists(st.floats(-1, 25), min_size=1, max_size=12).map(sorted),
)
def test_values_stay_within_what_was_seen(seconds: list[float], times: list[float]) -> None:
    values = np.stack([np.sin(np.array(seconds)), np.ones(len(seconds))], axis=-1)[:, None]
    dense = between(looks(seconds), values, np.array(times))
    assert dense.shape == (len(times), 1, 2)
    assert (dense[..., 0] >= values[..., 0].min() - 1e-9).all()
    assert (dense[..., 0] <= values[..., 0].max() + 1e-9).all()
    assert set(np.round(dense[..., 1].ravel(), 9)) <= {0.0, 1.0}
