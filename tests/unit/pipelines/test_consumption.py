"""The consumption ledger proves what was fed, and what was not."""

import dataclasses
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deemo_dist.config import StageConfig, StorageConfig, TrainRule
from deemo_dist.dataset import Budget, LengthTable, PlanSettings, StepPlan
from deemo_dist.errors import CorruptDataError, DatasetError
from deemo_dist.model import build_processor
from deemo_dist.records.consumed import CONSUMED_SCHEMA, ConsumedRow, fed_name, keys_digest
from deemo_dist.storage import Store, open_store
from deemo_dist.training.checkpoint.commit import put_commit
from deemo_dist.training.checkpoint.layout import Commit
from deemo_dist.training.consumption import Fed, lives_of, put_rows, read_rows, reborn
from pipelines.consumption import StageAudit, audit_run, audit_stage, proved
from pipelines.datasets import open_allowed
from pipelines.stages import PlannedStage, plan_stages
from tests.ready import prepared_in, run_in

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
    examples = [SimpleNamespace(key=f"{number // 2:032x}", task="ab"[number % 2]) for number in range(COUNT)]
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


def names_of(stage: PlannedStage, packs: Sequence[tuple[int, ...] | None]) -> list[str]:
    shown = [stage.examples[number] for pack in packs for number in pack or ()]
    return [fed_name(example.key, example.task) for example in shown]


def live(store: Store, stage: PlannedStage, attempt: int, start: int, stop: int, world: int) -> None:
    """One attempt's ranks feed the steps [start, stop) and put their rows."""
    for rank in range(world):
        fed = Fed(attempt=attempt, rank=rank, world=world, plan_digest=stage.plan.digest)
        for step in range(start, stop):
            packs = stage.plan.slice(step, rank, world)
            fed.note(step, names_of(stage, packs))
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
    without = audit_stage(store, dataclasses.replace(stage, left_out=3))
    assert proved([without]).endswith("; 3 examples too long for a pack are left out")


def test_a_stage_without_a_commit_was_fed_nothing(store: Store, stage: PlannedStage) -> None:
    live(store, stage, 1, 0, 2, 2)  # it came to no checkpoint
    audit = audit_stage(store, stage)
    assert (audit.steps, audit.lives, audit.times, audit.problems) == (0, (), {}, ())
    assert proved([audit]) == f"stage: 0 of {stage.plan.steps} steps committed (none), fed: nothing"


def test_a_run_is_audited_as_far_as_it_is_trained(tmp_path: Path) -> None:
    config = run_in(prepared_in(tmp_path))
    config = dataclasses.replace(config, stages=dict.fromkeys(("first", "second"), config.stages["instruct"]))
    with pytest.raises(DatasetError, match="has no committed step - train it first"):
        audit_run(config)
    store = open_store(config.storage)
    first, _ = plan_stages(config, open_allowed(config, store), build_processor(config.model), store)
    fed = Fed(attempt=1, rank=0, world=1, plan_digest=first.plan.digest)
    for step in range(first.plan.steps):
        fed.note(step, names_of(first, first.plan.slice(step, 0, 1)))
    put_rows(store, first.prefix, fed.until(first.plan.steps))
    made = Commit(
        stage_key=first.key,
        step=first.plan.steps,
        attempt=1,
        world=1,
        final=True,
        receipts=(),
        state={"lives": [(1, 0)]},
    )
    put_commit(store, "runs/run", first.prefix, made)
    done, open_ = audit_run(config)
    assert (done.steps, done.times) == (first.plan.steps, {first.config.epochs: len(first.examples)})
    assert (open_.steps, open_.times) == (0, {})
    assert f"second: 0 of {open_.of} steps committed (none), fed: nothing" in proved([done, open_])


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
        "step 6, rank 1 was fed in another order than planned",
    )
    with pytest.raises(CorruptDataError, match="not proved: stage: step 4"):
        proved([audit])


def test_the_ledger_says_which_example_was_fed_instead(store: Store, stage: PlannedStage) -> None:
    """Two tasks of one sample are told apart, a lost example is named, and what was fed is counted by the rows."""
    end = stage.plan.steps
    fed = Fed(attempt=1, rank=0, world=1, plan_digest=stage.plan.digest)
    for step in range(end):
        names = names_of(stage, stage.plan.slice(step, 0, 1))
        if step == 1:
            key, _, task = names[0].partition(":")
            other, names[0] = names[0], f"{key}:{'ba'['ab'.index(task)]}"
            twin = names[0]
        if step == 2:
            lost = names.pop()
        if step == 3:
            names.append("f" * 32 + ":a")
        if step == 4:
            names[:2] = names[1::-1]
        fed.note(step, names)
    put_rows(store, PREFIX, fed.until(end))
    commit(store, end, 1, [(1, 0)])
    audit = audit_stage(store, stage)
    assert audit.problems == (
        f"step 1, rank 0 was fed other examples than planned: without {other}, with {twin}",
        f"step 2, rank 0 was fed other examples than planned: without {lost}",
        "step 3, rank 0 was fed other examples than planned: with one that is not of this stage",
        "step 4, rank 0 was fed in another order than planned",
    )
    times = Counter(dict.fromkeys(names_of(stage, [tuple(range(COUNT))]), 2))
    times.update({twin: 1, other: -1})
    times.update({lost: -1})
    assert audit.times == Counter(times.values())


def test_the_ledgers_of_the_first_format_are_still_proved(store: Store, stage: PlannedStage) -> None:
    old = pa.schema([field for field in CONSUMED_SCHEMA if field.name != "examples"], {"deemo.version": "1"})
    end = stage.plan.steps

    def rows(wrong: int) -> pa.Table:
        made = []
        for step in range(end):
            keys = [name.partition(":")[0] for name in names_of(stage, stage.plan.slice(step, 0, 1))]
            digest = keys_digest(keys[1:] if step == wrong else keys)
            names = {"attempt": 1, "rank": 0, "world": 1, "plan_digest": stage.plan.digest}
            made.append({"step": step, "keys_digest": digest, "samples": len(keys), **names})
        return pa.Table.from_pylist(made, schema=old)

    commit(store, end, 1, [(1, 0)])
    for wrong, problems in ((-1, ()), (3, ("step 3, rank 0 was fed other samples than planned",))):
        sink = io.BytesIO()
        pq.write_table(rows(wrong), sink)
        store.put(f"{PREFIX}/consumed/0001-old-rank-00000.parquet", sink.getvalue())
        assert audit_stage(store, stage).problems == problems
    newer = old.with_metadata({"deemo.version": "9"})
    pq.write_table(rows(-1).select(old.names).cast(newer), sink := io.BytesIO())
    store.put(f"{PREFIX}/consumed/0001-old-rank-00000.parquet", sink.getvalue())
    with pytest.raises(CorruptDataError, match="0001-old"):
        read_rows(store, PREFIX)


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
