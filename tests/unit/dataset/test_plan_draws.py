"""Steps are like random draws: of dataset, label and modality, though length goes with them; and no trend."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from deemo_dist.dataset import Budget, LengthTable, Mix, PlanSettings, Source, StepPlan
from deemo_dist.dataset.mixing import MixedWindows
from deemo_dist.dataset.packing import Packs
from deemo_dist.dataset.windows import Groups

COUNT = 24_000
BUDGET = Budget(tokens=4096, frames=256, audio_seconds=120.0)
UNLIKELY = 1e-3


def data(seed: int) -> tuple[LengthTable, dict[str, np.ndarray]]:
    """Lengths, and three properties that go with them: video doubles the tokens, labels and datasets differ in them."""
    draw = np.random.default_rng(seed)
    dataset = (np.arange(COUNT) >= COUNT // 4).astype(np.int64)
    video, label = (draw.random(COUNT) < 0.7).astype(np.int64), draw.integers(0, 4, COUNT)
    tokens = draw.lognormal(5.2 + 0.2 * dataset, 0.6) + 128 * video + 25 * label
    lengths = LengthTable(
        digest=str(seed),
        tokens=np.clip(tokens, 20, 4000).astype(np.int64),
        targets=np.ones(COUNT, np.int64),
        frames=8 * video,
        audio_ms=draw.integers(0, 6000, COUNT),
    )
    return lengths, {"dataset": dataset, "label": label, "video": video}


def plan_of(seed: int) -> tuple[StepPlan, dict[str, np.ndarray]]:
    lengths, kinds = data(seed)
    few, many = COUNT // 4, COUNT - COUNT // 4
    sources = [Source(Groups.of(np.arange(count) // 60), COUNT // 2) for count in (few, many)]
    how = PlanSettings(seed=seed, epochs=1, packs_per_step=16, budget=BUDGET)
    return StepPlan(lengths, Mix(tuple(sources)), how), kinds


def table(plan: StepPlan, kind: np.ndarray) -> np.ndarray:
    """Counts by step and kind: [steps, kinds]."""
    shown = [[number for items in plan.step(step) for number in items] for step in range(plan.steps - 1)]
    return np.array([np.bincount(kind[numbers], minlength=kind.max() + 1) for numbers in shown])


def chances(plan: StepPlan, kind: np.ndarray) -> tuple[float, float]:
    """How likely random draws differ as much between steps, and show as much of a trend."""
    counts = table(plan, kind)
    shares = counts[:, 0] / counts.sum(axis=1)
    return stats.chi2_contingency(counts).pvalue, stats.spearmanr(np.arange(len(shares)), shares).pvalue


@pytest.mark.parametrize("seed", range(3))
def test_steps_are_like_random_draws(seed: int) -> None:
    plan, kinds = plan_of(seed)
    for kind in kinds.values():
        differ, trend = chances(plan, kind)
        assert differ > UNLIKELY and trend > UNLIKELY
    tokens = [plan.tokens(step) for step in range(plan.steps - 1)]
    assert stats.spearmanr(np.arange(len(tokens)), tokens).pvalue > UNLIKELY


@pytest.mark.parametrize("shards", [[100], [50, 50], [70, 20, 10], [10] * 10, [60] + [4] * 10])
def test_a_part_of_an_epoch_shows_each_example_as_likely_as_any_other(shards: list[int]) -> None:
    groups, times, seeds = Groups.of(np.repeat(np.arange(len(shards)), shards)), np.zeros(100), 2000
    mix = Mix((Source(groups, 30), Source(Groups.of(np.arange(200) // 50), 200)))
    for seed in range(seeds):
        drawn = MixedWindows(mix, seed, 1000).drawn(0, 0, 30)
        assert len(set(drawn.tolist())) == 30
        times[drawn] += 1
    spread = (times - seeds * 0.3) / np.sqrt(seeds * 0.3 * 0.7)
    assert np.abs(spread).max() < stats.norm.isf(UNLIKELY / 200)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 2**64 - 1), st.data())
def test_what_is_drawn_depends_on_its_place_alone(shards: list[int], seed: int, data: st.DataObject) -> None:
    total = 3 * sum(shards)
    mix = Mix((Source(Groups.of(np.repeat(np.arange(len(shards)), shards)), total),))
    cuts = sorted(data.draw(st.sets(st.integers(1, total - 1), max_size=6)))
    whole = MixedWindows(mix, seed, 10).drawn(0, 0, total)
    parts = [MixedWindows(mix, seed, 10).drawn(0, *cut) for cut in pairwise([0, *cuts, total])]
    assert (np.concatenate(parts) == whole).all()
    for epoch in np.split(whole, 3):
        assert sorted(epoch.tolist()) == list(range(total // 3))


def test_a_plan_sorted_by_length_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = StepPlan._make

    def by_length(plan: StepPlan, flat: int) -> Packs:
        packs = real(plan, flat)
        order = np.argsort(plan.lengths.tokens[packs.items], kind="stable")
        return Packs(items=packs.items[order], offsets=packs.offsets)

    monkeypatch.setattr(StepPlan, "_make", by_length)
    plan, kinds = plan_of(0)
    assert all(max(chances(plan, kind)) < UNLIKELY for kind in kinds.values())


def test_packs_of_like_items_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs in random order but each of examples of like length, as sorting before packing makes them."""
    real = StepPlan._make

    def alike(plan: StepPlan, flat: int) -> Packs:
        packs = real(plan, flat)
        order = np.argsort(plan.lengths.tokens[packs.items], kind="stable")
        shuffled = np.random.default_rng(0).permutation(len(packs))
        where = np.concatenate([np.arange(packs.offsets[p], packs.offsets[p + 1]) for p in shuffled])
        sizes = np.diff(packs.offsets)[shuffled]
        return Packs(items=packs.items[order][where], offsets=np.concatenate([[0], np.cumsum(sizes)]))

    monkeypatch.setattr(StepPlan, "_make", alike)
    plan, kinds = plan_of(0)
    assert chances(plan, kinds["video"])[0] < UNLIKELY
