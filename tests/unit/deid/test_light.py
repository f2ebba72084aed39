"""What is dark is brightened for the networks; what is light enough stays as it is, to the bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.deid.light import DARKEST, ENOUGH, is_dark, lit

SIZES = st.tuples(st.integers(40, 90), st.integers(40, 90))


def picture(size: tuple[int, int], seed: int, brightest: float) -> np.ndarray:
    """Coarse stripes and noise up to ``brightest``, in every part of the picture."""
    height, width = size
    stripes = (np.arange(width) // 4 % 2)[None, :, None] * np.ones((height, 1, 3))
    noise = np.random.default_rng(seed).random((height, width, 3))
    return np.rint(brightest * (0.7 * stripes + 0.3 * noise)).astype(np.uint8)


@given(SIZES, st.integers(0, 999), st.floats(150, 255))
def test_a_light_picture_stays_the_same_object(size: tuple[int, int], seed: int, brightest: float) -> None:
    made = picture(size, seed, brightest)
    assert lit(made) is made
    assert not is_dark(made)


@given(SIZES, st.integers(0, 999), st.floats(8, 40))
def test_a_dark_picture_becomes_as_bright_as_networks_need(size: tuple[int, int], seed: int, brightest: float) -> None:
    made = picture(size, seed, brightest)
    bright = lit(made)
    assert bright.shape == made.shape and bright.dtype == np.uint8
    assert (bright >= made).all()
    assert ENOUGH * 0.7 <= np.percentile(bright, 99) <= ENOUGH * 2.5


def test_only_the_dark_part_of_a_picture_changes_and_black_stays_black() -> None:
    made = np.zeros((120, 320, 3), np.uint8)
    made[:, :100] = picture((120, 100), 0, 12)
    made[:, 220:] = picture((120, 100), 1, 250)
    bright = lit(made)
    assert bright[:, :60].max() > 40
    assert (bright[:, 240:] == made[:, 240:]).all()
    assert not bright[:, 110:210].any()
    nothing = np.zeros((64, 64, 3), np.uint8)
    assert lit(nothing) is nothing


def test_large_pictures_are_brightened_like_small_ones() -> None:
    large = np.repeat(np.repeat(picture((90, 160), 3, 20), 12, axis=0), 12, axis=1)
    small = lit(large[::12, ::12])
    assert np.abs(lit(large)[6::12, 6::12].astype(int) - small).max() <= 8


@pytest.mark.parametrize(("brightest", "dark"), [(DARKEST - 1, True), (DARKEST + 6, False)])
def test_a_picture_is_dark_by_what_is_brightest_in_it_but_for_specks(brightest: int, dark: bool) -> None:
    made = picture((180, 240), 5, brightest)
    made[90:94, 100:104] = 255
    assert is_dark(made) is dark
