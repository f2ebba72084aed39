"""Faces seen open at looks that lie apart are open in between, wherever they went meanwhile."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.deid.faces.openings import Opening, Openings, Sight, between

PLACE, OTHER = (0, 0, 0, 0), (0, 0, 256, 256)


def sight(number: int, *boxes: tuple[float, float, float, float], open_: bool = True) -> Sight:
    return Sight(number, np.array(boxes, np.float64).reshape(-1, 4), np.full(len(boxes), open_))


def inside(box: tuple[float, ...], opening: Opening) -> bool:
    return bool((opening.box[:2] <= box[:2]).all() and (opening.box[2:] >= box[2:]).all())


@given(st.integers(1, 12), st.floats(-20, 20), st.floats(-20, 20), st.booleans(), st.booleans())
def test_a_moving_face_is_within_the_opening_at_every_frame_between(
    gap: int, right: float, down: float, before: bool, after: bool
) -> None:
    start = np.array([50.0, 50.0, 90.0, 90.0])
    end = start + np.array([right, down, right, down])
    found = list(between(sight(5, tuple(start), open_=before), sight(5 + gap, tuple(end), open_=after)))
    assert len(found) == (before or after)
    for opening in found:
        assert (opening.first, opening.last) == (5, 5 + gap)
        for share in np.linspace(0, 1, 7):
            assert inside(tuple(start + (end - start) * share), opening)


def test_a_face_seen_at_one_look_alone_is_about_there() -> None:
    (first,) = between(sight(0), sight(6, (10, 10, 20, 20)))
    assert (first.first, first.last) == (0, 6)
    assert first.box == pytest.approx([5, 5, 25, 25])
    assert list(between(sight(0, (10, 10, 20, 20), open_=False), sight(6))) == []


def test_an_opening_reaches_from_the_look_before_to_the_look_after_and_to_the_ends() -> None:
    openings = Openings()
    for number in (3, 6, 9):
        openings.take(PLACE, sight(number, *([(10, 10, 20, 20)] if number == 6 else [])))
    openings.take(OTHER, sight(4, (100, 100, 120, 120)))
    spans = sorted((opening.first, opening.last) for opening in openings.all(11))
    assert spans == [(0, 4), (3, 6), (4, 11), (6, 9)]


def test_the_looks_of_one_place_say_nothing_of_another() -> None:
    openings = Openings()
    openings.take(PLACE, sight(2))
    openings.take(OTHER, sight(8, (10, 10, 20, 20)))
    assert {(opening.first, opening.last) for opening in openings.all(10)} == {(0, 8), (8, 10)}
