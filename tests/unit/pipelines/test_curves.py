"""Loss curves in a real store: what is written when, and what a store that fails costs."""

import json
import math
from pathlib import Path

import pytest

from deemo_dist.config import StorageConfig
from deemo_dist.errors import StorageError
from deemo_dist.storage import Store, open_store
from deemo_dist.training import CommitInfo, StageResult, StepReport
from pipelines.curves import CHUNK_ROWS, KeepCurve, read_curve, read_result

STAGE = "runs/r/s"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StorageConfig(root=f"file://{tmp_path}/store"))


def report(step: int, loss: float) -> StepReport:
    facts = {"lr": {}, "targets": 1, "samples_per_second": 1.0, "data_wait_seconds": 0.0, "step_seconds": 1.0}
    rest = {"rss_bytes": 1, "device_bytes": 0, "skipped": False, "skipped_total": 0, "total_steps": 9}
    return StepReport(step=step, loss=loss, grad_norm=math.inf, tokens_per_second=2.0, **facts, **rest)


def result(seconds: float) -> StageResult:
    counts = {"ranks": 1, "zero_stage": 3, "steps": 3, "start_step": 0, "trainable_params": 1, "total_params": 1}
    commit = CommitInfo(step=3, attempt=1, key="k")
    losses = {"first_loss": None, "last_loss": None, "best_validation": None, "best_step": None, "skipped_steps": 0}
    return StageResult(name="s", commit=commit, seconds=seconds, save_stall_seconds=0.0, **losses, **counts)


def heard(store: Store, losses: list[float]) -> KeepCurve:
    curve = KeepCurve(store, STAGE)
    for step, loss in enumerate(losses):
        curve.on_step(report(step, loss))
    return curve


def test_a_loss_that_is_not_finite_is_null_and_skipped_where_a_number_is_asked(store: Store) -> None:
    curve = heard(store, [math.nan, 2.0, math.inf, 1.0, math.nan])
    curve.before_commit()
    curve.on_end(result(math.inf))
    assert [row["loss"] for row in read_curve(store, STAGE)] == [None, 2.0, None, 1.0, None]
    ended = read_result(store, STAGE)
    assert (ended["first_loss"], ended["last_loss"], ended["seconds"]) == (2.0, 1.0, None)


def test_what_was_written_is_not_written_again_but_for_the_last_object(store: Store) -> None:
    curve = heard(store, [1.0] * (2 * CHUNK_ROWS + 5))
    curve.before_commit()
    first, second, last = sorted(store.list(f"{STAGE}/curve/"))
    for key in (first, second):
        store.delete(key)
    curve.on_step(report(2 * CHUNK_ROWS + 5, 1.5))
    curve.before_commit()
    assert store.list(f"{STAGE}/curve/") == [last]
    assert len(json.loads(store.get(last))["rows"]) == 6


def test_a_store_that_fails_is_said_and_made_up_for(store: Store, caplog, monkeypatch) -> None:
    curve = heard(store, [2.0, 1.0])

    def full(key: str, data: bytes) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as broken, caplog.at_level("WARNING", logger="deemo_dist"):
        broken.setattr(store, "put", full)
        curve.before_commit()
        curve.on_end(result(1.0))
    assert "the loss curve could not be written" in caplog.text and "the disk is full" in caplog.text
    assert read_curve(store, STAGE) == []
    curve.before_commit()
    assert [row["loss"] for row in read_curve(store, STAGE)] == [2.0, 1.0]


def test_the_whole_curves_of_older_runs_are_read_with_the_later_attempt_s(store: Store) -> None:
    rows = [{"step": step, "loss": 9.0, "validation_loss": None} for step in range(3)]
    store.put(f"{STAGE}/curve/0001.json", json.dumps({"rows": rows}).encode())
    curve = KeepCurve(store, STAGE)
    curve.attempt = 2
    for step in (2, 3):
        curve.on_step(report(step, 1.0))
    curve.before_commit()
    assert [row["loss"] for row in read_curve(store, STAGE)] == [9.0, 9.0, 1.0, 1.0]
