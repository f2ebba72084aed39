"""Mixing: each dataset once an epoch of its own, every prefix within one of its share, windows on their own."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.config import MixConfig
from deemo_dist.dataset import Budget, LengthTable, PlanSettings, StepPlan
from deemo_dist.dataset.mixed import mixed_lengths
from deemo_dist.dataset.mixing import Mix, MixedWindows, Source, Stitched, dataset_names, draws_of
from deemo_dist.dataset.quota import prefix_counts
from deemo_dist.dataset.windows import Groups
from deemo_dist.errors import ConfigError, CorruptDataError, DatasetError
from deemo_dist.storage import Store

BUDGET = Budget(tokens=512, frames=64, audio_seconds=30.0)
DRAWS = st.lists(st.integers(1, 400), min_size=1, max_size=9)
SIZES = st.lists(st.tuples(st.integers(1, 90), st.integers(1, 300)), min_size=1, max_size=4)


def lengths_of(count: int, seed: int) -> LengthTable:
    draw = np.random.default_rng(seed)
    columns = {"targets": draw.integers(0, 10, count), "frames": draw.choice([0, 8], count)}
    tokens, sound = draw.integers(10, 400, count), draw.integers(0, 4000, count)
    return LengthTable(digest=f"{count}-{seed}", tokens=tokens, audio_ms=sound, **columns)


def mix_of(sizes: list[tuple[int, int]]) -> Mix:
    """Datasets of (examples, draws), seven examples a shard."""
    return Mix(tuple(Source(Groups.of(np.arange(count) // 7), draws) for count, draws in sizes))


def plan_of(sizes: list[tuple[int, int]], *, seed: int = 0, packs: int = 6, window: int = 60, **more: Any) -> StepPlan:
    how = PlanSettings(seed=seed, epochs=1, packs_per_step=packs, budget=BUDGET, window=window)
    lengths = mixed_lengths([lengths_of(count, number) for number, (count, _) in enumerate(sizes)])
    return StepPlan(lengths, mix_of(sizes), how, **more)


def bases_of(sizes: list[tuple[int, int]]) -> np.ndarray:
    return np.cumsum([0, *(count for count, _ in sizes)])


@given(DRAWS)
@settings(max_examples=60, deadline=None)
def test_every_prefix_is_within_one_of_its_shares(draws: list[int]) -> None:
    total = sum(draws)
    counts = prefix_counts(np.array(draws), np.arange(total + 1))
    assert (counts.sum(axis=1) == np.arange(total + 1)).all()
    assert (np.diff(counts, axis=0) >= 0).all()
    for row, place in zip(counts.tolist(), range(total + 1), strict=True):
        assert all(abs(total * count - place * share) < total for count, share in zip(row, draws, strict=True))
    assert counts[-1].tolist() == draws


@given(SIZES, st.integers(0, 2**64 - 1), st.integers(1, 250))
@settings(max_examples=40, deadline=None)
def test_each_dataset_once_an_epoch_of_its_own(sizes: list[tuple[int, int]], seed: int, least: int) -> None:
    windows = MixedWindows(mix_of(sizes), seed, least)
    assert all(len(windows.examples(w)) >= min(least, sum(d for _, d in sizes)) for w in range(len(windows)))
    for number, (count, draws) in enumerate(sizes):
        stream = np.concatenate(
            [windows.drawn(number, *windows.starts[w : w + 2, number].tolist()) for w in range(len(windows))]
        )
        assert len(stream) == draws
        for start in range(0, draws, count):
            epoch = stream[start : start + count]
            assert len(set(epoch.tolist())) == len(epoch)
            assert len(epoch) < count or sorted(epoch.tolist()) == list(range(count))


@given(SIZES, st.integers(0, 9), st.integers(1, 20), st.integers(20, 200))
@settings(max_examples=25, deadline=None)
def test_a_mixed_plan_shows_what_its_shares_say(
    sizes: list[tuple[int, int]], seed: int, packs: int, window: int
) -> None:
    plan = plan_of(sizes, seed=seed, packs=packs, window=window)
    steps = [plan.step(step) for step in range(plan.steps)]
    assert all(len(step) == packs for step in steps[:-1])
    shown = np.array([number for step in steps for items in step for number in items])
    times = np.bincount(shown, minlength=len(plan.lengths))
    for number, (count, draws) in enumerate(sizes):
        own = times[bases_of(sizes)[number] :][:count]
        assert own.sum() == draws
        assert set(own.tolist()) <= {draws // count, -(-draws // count)}
    costs = plan.lengths.costs()
    assert all((costs[list(items)].sum(axis=0) <= BUDGET.as_integers()).all() for step in steps for items in step)


def test_what_is_fed_up_to_a_windows_end_is_within_one_of_its_shares() -> None:
    sizes = [(200, 311), (90, 700), (50, 23), (400, 400)]
    plan = plan_of(sizes, window=70)
    total, bases = sum(draws for _, draws in sizes), bases_of(sizes)
    fed = np.zeros(4, np.int64)
    for window in range(len(plan._windows)):
        packs = plan._make(window)
        fed += np.bincount(np.searchsorted(bases, packs.items, side="right") - 1, minlength=4)
        assert (np.abs(fed - fed.sum() * np.array([draws for _, draws in sizes]) / total) < 1).all()


def test_the_packs_of_a_mixed_step_do_not_depend_on_the_ranks() -> None:
    plan = plan_of([(200, 311), (90, 700)], packs=64, window=400)
    for step in (0, plan.steps - 1):
        whole = plan.step(step)
        for world in range(1, 65):
            slices = [plan.slice(step, rank, world) for rank in range(world)]
            dealt = [slices[rank][micro] for micro in range(plan.micro_steps(world)) for rank in range(world)]
            assert [items for items in dealt if items is not None] == whole


def test_a_step_of_a_mix_needs_only_its_own_window(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [(300, 900), (700, 700)]
    first = plan_of(sizes, store=store, packs=4)
    expected = [first.step(step) for step in range(first.steps)]
    made: list[int] = []
    real = StepPlan._make
    monkeypatch.setattr(StepPlan, "_make", lambda plan, flat: made.append(flat) or real(plan, flat))
    monkeypatch.setattr("deemo_dist.dataset.mixing._counted", lambda *_: pytest.fail("the counts are kept"))
    again = plan_of(sizes, store=store, packs=4)
    assert (made, again.digest) == ([], first.digest)
    assert again.step(again.steps // 2) == expected[again.steps // 2]
    assert 1 <= len(made) <= 2
    assert [again.step(step) for step in range(again.steps)] == expected


def test_the_digest_names_the_shares() -> None:
    sizes = [(100, 200), (60, 60)]
    plans = [plan_of(sizes), plan_of([(100, 201), (60, 60)]), plan_of(sizes[::-1]), plan_of(sizes, seed=1)]
    assert len({plan.digest for plan in plans}) == len(plans)
    assert plan_of(sizes).digest == plans[0].digest


@pytest.mark.parametrize("starts", [None, [], [[0, 0]], [[0, 0], [1]], [[0, 0], ["a", 2]], [[0, 0], [1, 1]]])
def test_damaged_counts_are_refused(store: Store, starts: Any) -> None:
    sizes = [(100, 200), (60, 60)]
    plan = plan_of(sizes, store=store)
    rows = plan._windows.stored()["starts"]
    if starts is None:
        starts = [[a + 2, b - 2] if number == 2 else [a, b] for number, (a, b) in enumerate(rows)]
    store.put(f"plans/{plan.digest}/windows.json", repr({"packs": [1], "starts": starts}).replace("'", '"').encode())
    with pytest.raises(CorruptDataError, match=r"windows.json: not the counts"):
        plan_of(sizes, store=store)


def test_shares_by_weight_and_by_epochs() -> None:
    sizes = {"a/v1": 300, "b/v1": 100}
    assert draws_of({"a/v1": MixConfig(), "b/v1": MixConfig()}, sizes, 2) == {"a/v1": 600, "b/v1": 200}
    by_epochs = {"a/v1": MixConfig(epochs=0.5), "b/v1": MixConfig(epochs=3)}
    assert draws_of(by_epochs, sizes, 2) == {"a/v1": 150, "b/v1": 300}
    by_weight = {"a/v1": MixConfig(weight=1), "b/v1": MixConfig(weight=3)}
    assert draws_of(by_weight, sizes, 2) == {"a/v1": 200, "b/v1": 600}
    both = {"a/v1": MixConfig(weight=2), "b/v1": MixConfig(epochs=1)}
    assert draws_of(both, sizes, 5) == {"a/v1": 200, "b/v1": 100}


def test_shares_that_make_no_sense_are_refused() -> None:
    for share in (MixConfig(weight=1, epochs=1), MixConfig(weight=0), MixConfig(weight=-1), MixConfig(epochs=-2)):
        with pytest.raises(ConfigError, match="the mix gives dataset a/v1"):
            draws_of({"a/v1": share}, {"a/v1": 10}, 1)
    with pytest.raises(DatasetError, match="gives no example"):
        draws_of({"a/v1": MixConfig(epochs=0.01)}, {"a/v1": 10}, 1)
    for names in ({"demo": MixConfig()}, {"/v1": MixConfig()}, {"demo/": MixConfig()}):
        with pytest.raises(ConfigError, match="name/version"):
            dataset_names(names)
    with pytest.raises(ConfigError, match="two versions of dataset demo"):
        dataset_names({"demo/v1": MixConfig(), "demo/v2": MixConfig()})
    assert dataset_names({"demo/v1": MixConfig()}) == {"demo/v1": ("demo", "v1")}


def test_stitched_columns_are_the_columns() -> None:
    parts = [np.arange(5, dtype=np.uint8), np.zeros(0, np.uint8), np.arange(300, 310, dtype=np.uint16)]
    whole, stitched = np.concatenate(parts), Stitched(parts)
    assert len(stitched) == 15 and stitched.dtype == np.uint16 and stitched.max(initial=0) == 309
    assert (stitched[:] == whole).all() and (stitched[[14, 0, 5]] == whole[[14, 0, 5]]).all()
    assert stitched[[]].sum() == 0
