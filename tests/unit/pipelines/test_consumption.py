"""The consumption ledger proves what was fed, and what was not."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from deemo_dist.config import StageConfig, StorageConfig, TrainRule
from deemo_dist.dataset import Budget, LengthTable, PlanSettings, StepPlan
from deemo_dist.errors import CorruptDataError
from deemo_dist.records.consumed import ConsumedRow
from deemo_dist.storage import Store, open_store
from deemo_dist.training.checkpoint.commit import put_commit
from deemo_dist.training.checkpoint.layout import Commit
from deemo_dist.training.consumption import Fed, lives_of, put_rows, read_rows, reborn
from pipelines.consumption import StageAudit, audit_stage, proved
from pipelines.stages import PlannedStage

COUNT = 40
PREFIX = "runs/r/stage-0"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StorageConfig(root=f"file://{tmp_path}"))


@pytest.fixture
def stage() -> PlannedStage:
    ones = np.ones(COUNT, np.int64)
    lengths = LengthTable(digest="l", tokens=30 * ones, targets=ones, frames=0 * ones, audio_ms=0 * ones)
    budget = Budget(tokens=100, frames=1, audio_seconds=1.0)
    settings = PlanSettings(seed=1, epochs=2, packs_per_step=4, budget=budget)
    config = StageConfig(tasks=("t",), trains={"*": TrainRule()}, packs_per_step=4, epochs=2)
    examples = [SimpleNamespace(key=f"{number:032x}") for number in range(COUNT)]
    plan = StepPlan(lengths, np.zeros(COUNT, np.int64), settings)
    return PlannedStage(
        name="stage",
        config=config,
        examples=examples,
        plan=plan,
        key="k",
        prefix=PREFIX,
        validation=None,  # type: ignore[arg-type]
    )


def live(store: Store, stage: PlannedStage, attempt: int, start: int, stop: int, world: int) -> None:
    """One attempt's ranks feed the steps [start, stop) and put their rows."""
    for rank in range(world):
        fed = Fed(attempt=attempt, rank=rank, world=world, plan_digest=stage.plan.digest)
        for step in range(start, stop):
            packs = stage.plan.slice(step, rank, world)
            fed.note(step, [stage.examples[number].key for pack in packs for number in pack or ()])
        put_rows(store, PREFIX, fed.until(stop))


def commit(store: Store, step: int, attempt: int, lives: list[tuple[int, int]]) -> None:
    made = Commit(stage_key="k", step=step, attempt=attempt, world=1, final=False, receipts=(), state={"lives": lives})
    put_commit(store, "runs/r", PREFIX, made)


def three_lives(store: Store, stage: PlannedStage) -> StageAudit:
    """Two ranks to step 4 (and on, uncommitted, to 6), one rank to 5, four to the end."""
    end = stage.plan.steps
    lives = reborn(reborn(reborn([], 1, 0), 2, 4), 3, 5)
    live(store, stage, 1, 0, 6, 2)
    live(store, stage, 2, 4, 5, 1)
    live(store, stage, 3, 5, end, 4)
    commit(store, end, 3, lives)
    return audit_stage(store, stage)


def test_counts_are_proved_over_restarts_and_changed_ranks(store: Store, stage: PlannedStage) -> None:
    audit = three_lives(store, stage)
    assert audit.problems == ()
    assert audit.times == {2: COUNT}
    assert audit.lives == ((1, 0, 4, 2), (2, 4, 5, 1), (3, 5, stage.plan.steps, 4))
    assert "attempt 2 made steps 4 to 4 on 1 ranks" in proved([audit])


def test_what_was_not_fed_as_planned_is_named(store: Store, stage: PlannedStage) -> None:
    three_lives(store, stage)
    rows = read_rows(store, PREFIX)
    wrong = next(row for row in rows if (row.attempt, row.step) == (3, 6) and row.rank == 1)
    gone = next(key for key in store.list(f"{PREFIX}/consumed/") if "/0002-" in key)
    store.delete(gone)
    for key in store.list(f"{PREFIX}/consumed/"):
        if "/0003-" in key and key.endswith("rank-00001.parquet"):
            store.delete(key)
    mended = [dataclasses.replace(row, keys_digest="0" * 64) if row == wrong else row for row in rows]
    put_rows(store, PREFIX, [row for row in mended if (row.attempt, row.rank) == (3, 1)])
    audit = audit_stage(store, stage)
    assert audit.problems == (
        "step 4 (attempt 2) has the rows of 0 ranks of none",
        "step 6, rank 1 was fed other samples than planned",
    )
    with pytest.raises(CorruptDataError, match="not proved: stage: step 4"):
        proved([audit])


def test_two_accounts_of_one_step_must_agree(store: Store, stage: PlannedStage) -> None:
    three_lives(store, stage)
    row = ConsumedRow(attempt=1, step=0, rank=0, world=2, plan_digest="other", keys_digest="", samples=0)
    put_rows(store, PREFIX, [row])
    assert any("two accounts of step 0" in problem for problem in audit_stage(store, stage).problems)


def test_a_damaged_ledger_is_named(store: Store, stage: PlannedStage) -> None:
    three_lives(store, stage)
    store.put(f"{PREFIX}/consumed/0009-00000000-00000001-rank-00000.parquet", b"rubbish")
    with pytest.raises(CorruptDataError, match="0009-00000000"):
        audit_stage(store, stage)


def test_a_life_that_goes_back_voids_what_came_after() -> None:
    assert reborn([(1, 0), (2, 5)], 3, 4) == [(1, 0), (3, 4)]
    assert reborn([(1, 0)], 2, 0) == [(2, 0)]
    assert lives_of({}, 7) == [(7, 0)]
