"""Packing: never over budget, every item once, and close to what is possible."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.dataset import Budget, pack
from deemo_dist.errors import DatasetError
from tests.bench.plane.packs import ANCHORS, DISTRIBUTIONS, best_fit_fill, fill

ITEM = st.tuples(st.integers(1, 100), st.integers(0, 16), st.integers(0, 5000))


@given(st.lists(ITEM, max_size=100), st.integers(100, 300), st.integers(16, 64), st.floats(5.0, 20.0))
@settings(max_examples=60, deadline=None)
def test_never_over_budget_and_every_item_once(
    items: list[tuple[int, int, int]], tokens: int, frames: int, seconds: float
) -> None:
    costs = np.array(items, np.int64).reshape(-1, 3)
    packs = pack(costs, Budget(tokens=tokens, frames=frames, audio_seconds=seconds))
    assert sorted(packs.items.tolist()) == list(range(len(items)))
    assert all(len(found) for found in packs)
    for column, limit in enumerate((tokens, frames, seconds * 1000)):
        assert (packs.sums(costs[:, column]) <= limit + 1e-6).all()
    again = pack(costs, Budget(tokens=tokens, frames=frames, audio_seconds=seconds))
    assert np.array_equal(packs.items, again.items)
    assert np.array_equal(packs.offsets, again.offsets)


def test_an_item_that_no_pack_holds_is_refused() -> None:
    budget = Budget(tokens=100, frames=8, audio_seconds=2.0)
    for row, said in (([101, 0, 0], "100 tokens"), ([5, 9, 0], "8 frames"), ([5, 8, 2001], "2000 audio ms")):
        with pytest.raises(DatasetError, match=f"1 examples exceed a pack's {said}"):
            pack(np.array([[1, 0, 0], row]), budget)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_windows_are_as_full_as_best_fit_decreasing_fills_them(name: str) -> None:
    """Though their packs are mixed, and those would not be."""
    assert fill(name) >= 0.999 * best_fit_fill(name)
    if name == ANCHORS:
        assert fill(name) >= 0.999


def test_packs_are_nearly_full_and_quick_to_make() -> None:
    draw = np.random.default_rng(0)
    tokens = np.clip(draw.lognormal(5.2, 0.6, 20_000), 20, 2048).astype(np.int64)
    costs = np.stack([tokens, np.where(draw.random(20_000) < 0.9, 8, 0), draw.integers(0, 10_000, 20_000)], axis=1)
    started = time.perf_counter()
    packs = pack(costs, Budget(tokens=2048, frames=256, audio_seconds=120.0))
    assert tokens.sum() / (len(packs) * 2048) > 0.99
    assert time.perf_counter() - started < 2
    tight = pack(costs, Budget(tokens=2048, frames=64, audio_seconds=40.0))
    assert len(tight) < 1.06 * max(costs[:, 1].sum() / 64, costs[:, 2].sum() / 40_000)


def test_nothing_of_a_kind_allowed() -> None:
    packs = pack(np.array([[10, 0, 0]] * 8), Budget(tokens=40, frames=0, audio_seconds=0.0))
    assert len(packs) == 2
