"""The step plan's laws."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.config import StageConfig, TrainRule
from deemo_dist.dataset import Budget, LengthTable, PlanSettings, StepPlan, open_dataset, plan_stage, plan_units
from deemo_dist.dataset.windows import Groups, epoch_windows
from deemo_dist.errors import CorruptDataError, DatasetError
from deemo_dist.storage import Store
from tests.bench.plane.packs import evenness

BUDGET = Budget(tokens=512, frames=64, audio_seconds=30.0)


def lengths_of(count: int, seed: int = 0) -> LengthTable:
    draw = np.random.default_rng(seed)
    return LengthTable(
        digest=f"{count}-{seed}",
        tokens=draw.integers(10, 400, count),
        targets=draw.integers(0, 10, count),
        frames=draw.choice([0, 8], count),
        audio_ms=draw.integers(0, 4000, count),
    )


def plan_of(count: int = 600, *, seed: int = 0, epochs: int = 2, packs: int = 8, window: int = 150) -> StepPlan:
    settings = PlanSettings(seed=seed, epochs=epochs, packs_per_step=packs, budget=BUDGET, window=window)
    return StepPlan(lengths_of(count), np.arange(count) // 20, settings)


@given(st.integers(1, 300), st.integers(1, 3), st.integers(1, 20), st.integers(1, 200), st.integers(0, 2**64 - 1))
@settings(max_examples=25, deadline=None)
def test_each_example_once_an_epoch_within_budget(count: int, epochs: int, packs: int, window: int, seed: int) -> None:
    plan = plan_of(count, seed=seed, epochs=epochs, packs=packs, window=window)
    steps = [plan.step(step) for step in range(plan.steps)]
    assert all(len(step) == packs for step in steps[:-1])
    assert 0 < len(steps[-1]) <= packs
    counts = np.bincount([number for step in steps for items in step for number in items], minlength=count)
    assert (counts == epochs).all()
    costs = plan.lengths.costs()
    for step in steps:
        for items in step:
            assert (costs[list(items)].sum(axis=0) <= BUDGET.as_integers()).all()


def test_an_epoch_is_over_before_the_next_begins() -> None:
    plan = plan_of(epochs=3)
    packs = [plan._pack(number)[0].tolist() for number in range(plan.packs)]
    shown = [number for items in packs for number in items]
    for epoch in range(3):
        assert sorted(shown[600 * epoch : 600 * (epoch + 1)]) == list(range(600))
    assert shown[:600] != shown[600:1200]


def test_the_packs_of_a_step_do_not_depend_on_the_ranks() -> None:
    plan = plan_of(packs=64, epochs=1)
    for step in (0, plan.steps - 1):
        whole = plan.step(step)
        for world in range(1, 65):
            slices = [plan.slice(step, rank, world) for rank in range(world)]
            assert {len(found) for found in slices} == {-(-64 // world)} == {plan.micro_steps(world)}
            dealt = [slices[rank][micro] for micro in range(plan.micro_steps(world)) for rank in range(world)]
            assert [items for items in dealt if items is not None] == whole
            assert all(items is None for items in dealt[len(whole) :])


def test_more_ranks_than_packs_are_refused() -> None:
    plan = plan_of(packs=4)
    with pytest.raises(DatasetError, match="5 ranks cannot share 4 packs"):
        plan.slice(0, 0, 5)
    for bad in (-1, plan.steps):
        with pytest.raises(DatasetError, match="there is no step"):
            plan.step(bad)
    with pytest.raises(DatasetError):
        plan.slice(0, 2, 2)


def test_targets_are_those_of_the_step() -> None:
    plan = plan_of()
    for step in range(plan.steps):
        numbers = [number for items in plan.step(step) for number in items]
        assert plan.targets(step) == plan.lengths.targets[numbers].sum()
        assert plan.tokens(step) == plan.lengths.tokens[numbers].sum()
    assert sum(plan.targets(step) for step in range(plan.steps)) == 2 * plan.lengths.targets.sum()


def test_a_step_needs_only_its_own_window(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = PlanSettings(seed=1, epochs=2, packs_per_step=4, budget=BUDGET, window=100)
    first = StepPlan(lengths_of(1000), np.arange(1000) // 20, settings, store=store)
    expected = [first.step(step) for step in range(first.steps)]
    made: list[int] = []
    real = StepPlan._make
    monkeypatch.setattr(StepPlan, "_make", lambda plan, flat: made.append(flat) or real(plan, flat))
    again = StepPlan(lengths_of(1000), np.arange(1000) // 20, settings, store=store)
    assert made == []
    assert again.digest == first.digest
    assert again.step(again.steps // 2) == expected[again.steps // 2]
    assert 1 <= len(made) <= 2
    assert [again.step(step) for step in range(again.steps)] == expected


def test_a_damaged_table_of_windows_is_refused(store: Store) -> None:
    settings = PlanSettings(seed=1, epochs=1, packs_per_step=4, budget=BUDGET, window=100)
    plan = StepPlan(lengths_of(300), np.arange(300) // 20, settings, store=store)
    store.put(f"plans/{plan.digest}/windows.json", b'{"packs": [1]}')
    with pytest.raises(CorruptDataError, match="windows"):
        StepPlan(lengths_of(300), np.arange(300) // 20, settings, store=store)


@pytest.mark.parametrize("off", [1, -1])
def test_a_table_that_gives_a_window_another_count_of_packs_is_refused(store: Store, off: int) -> None:
    """At opening by its digest; where it names none (older ones), by whatever packs that window."""
    settings = PlanSettings(seed=1, epochs=1, packs_per_step=4, budget=BUDGET, window=100)
    lengths, shards = lengths_of(500), np.arange(500) // 20
    plan = StepPlan(lengths, shards, settings, store=store)
    key = f"plans/{plan.digest}/windows.json"
    table = json.loads(store.get(key))
    packs = table["packs"][1]
    table["packs"][1] += off
    store.put(key, json.dumps(table).encode())
    with pytest.raises(CorruptDataError, match="its counts are not those it names"):
        StepPlan(lengths, shards, settings, store=store)
    del table["packs_digest"]
    store.put(key, json.dumps(table).encode())
    again = StepPlan(lengths, shards, settings, store=store)
    assert again.step(0) == plan.step(0)
    with pytest.raises(CorruptDataError, match=f"window 1 has {packs} packs, and {packs + off} by .* delete the table"):
        [again.step(step) for step in range(again.steps)]
    with pytest.raises(CorruptDataError, match="window 1 has"):
        again.window(1)


def test_the_digest_names_everything_the_plan_depends_on() -> None:
    plans = [plan_of(), plan_of(seed=1), plan_of(packs=4), plan_of(window=100), plan_of(epochs=1), plan_of(601)]
    assert len({plan.digest for plan in plans}) == len(plans)
    assert plan_of().digest == plans[0].digest
    assert plan_of().step(3) == plans[0].step(3) != plans[1].step(3)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 120), st.integers(0, 5))
def test_windows_hold_every_shard_and_enough_examples(sizes: list[int], least: int, epoch: int) -> None:
    groups = Groups.of(np.repeat(np.arange(len(sizes)) * 3, sizes))
    windows = epoch_windows(groups, 5, epoch, least)
    assert sorted(np.concatenate(windows).tolist()) == list(range(len(sizes)))
    counts = [sum(sizes[shard] for shard in window.tolist()) for window in windows]
    assert len(windows) == 1 or min(counts) >= least


def test_the_ranks_of_a_micro_step_have_like_work() -> None:
    """Of tokens, frames and sound together, over 64 ranks at 8 micro-steps."""
    assert evenness(60_000) >= 1 / 1.02


def test_a_stage_makes_its_plan(made: Any, store: Store) -> None:
    from deemo_dist.config import TaskConfig
    from deemo_dist.dataset import build_examples, table_of
    from deemo_dist.records import Length

    made.dataset(store, plan_units(made.clips(20), 4000))
    tasks = {"emotion": TaskConfig(prompt="Which?", answer="{label.emotion}")}
    examples = build_examples(open_dataset(store, "demo", "v1"), tasks, ["emotion"], "train")
    lengths = table_of([Length(tokens=100, targets=2, frames=8, audio_seconds=0.5) for _ in examples])
    stage = StageConfig(tasks=("emotion",), trains={"*": TrainRule()}, packs_per_step=2, max_tokens=250, epochs=3)
    plan = plan_stage(examples, lengths, stage, seed=1)
    assert (plan.packs, plan.steps) == (24, 12)
    assert plan_stage(examples, lengths, stage, seed=1, epochs=1).packs == 8
    with pytest.raises(DatasetError, match="a plan needs examples"):
        plan_stage([], table_of([]), stage, seed=1)
