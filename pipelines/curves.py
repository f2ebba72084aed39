"""Loss curves beside the checkpoints, so that a report can be made without asking a tracking server."""

import json
import math
from typing import Any

from deemo_dist.console import logger
from deemo_dist.digests import canonical_json, plain
from deemo_dist.errors import DeemoError
from deemo_dist.storage import Store
from deemo_dist.training import CommitInfo, StageResult, StageSpec, StepReport

CHUNK_ROWS = 1000


class KeepCurve:
    """Keeps this attempt's steps (step, loss, validation loss, tokens a second) as objects of ``CHUNK_ROWS`` steps.

    They are written by ``before_commit``, on the saver's thread: a life that ends right after a commit leaves no gap in
    the curve. What could not be written is tried again at the next commit and at the end, and ends no training. A
    figure that is not finite is null.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self.store, self.prefix = store, prefix
        self.attempt = 0
        self.rows: list[dict[str, Any]] = []
        self.kept = 0

    def on_start(self, spec: StageSpec, *, start_step: int, attempt: int, trainable: dict[str, int]) -> None:
        """Note the attempt: each has its own objects."""
        self.attempt = attempt

    def on_step(self, report: StepReport) -> None:
        """Remember a step."""
        self.rows.append(
            {
                "step": report.step,
                "loss": _finite(report.loss),
                "validation_loss": _finite(report.validation_loss),
                "tokens_per_second": _finite(report.tokens_per_second),
            }
        )

    def before_commit(self) -> None:
        """Write the steps since the last time, with those that share an object with them. Any thread; never raises."""
        try:
            while self.kept < len(self.rows):
                first = self.kept - self.kept % CHUNK_ROWS
                rows = self.rows[first : first + CHUNK_ROWS]
                key = f"{self.prefix}/curve/{self.attempt:04d}-{first:08d}.json"
                self.store.put(key, canonical_json({"rows": rows}))
                self.kept = first + len(rows)
        except DeemoError as error:
            logger.warning("the loss curve could not be written, it is tried again: %s", error)

    def on_checkpoint(self, commit: CommitInfo) -> None:
        """Nothing: the curve was written before it."""

    def on_end(self, result: StageResult) -> None:
        """Write what is left, and how the stage ended."""
        self.before_commit()
        facts = {name: _finite(value) for name, value in plain(result).items()}
        try:
            self.store.put(f"{self.prefix}/result.json", canonical_json(facts))
        except DeemoError as error:
            logger.warning("how the stage ended could not be written: %s", error)


def _finite(value: Any) -> Any:
    """``value``, but None for a number that JSON cannot say."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def forget_curve(store: Store, prefix: str) -> None:
    """Remove what a stage's earlier training left: it starts anew, and may end sooner."""
    for key in (*store.list(f"{prefix}/curve/"), f"{prefix}/result.json"):
        store.delete(key)


def read_curve(store: Store, prefix: str) -> list[dict[str, Any]]:
    """The steps of a stage in order; where attempts overlap, the later one's. A loss that was not finite is None."""
    rows: dict[int, dict[str, Any]] = {}
    for key in sorted(store.list(f"{prefix}/curve/")):
        rows.update({row["step"]: row for row in json.loads(store.get(key))["rows"]})
    return [rows[step] for step in sorted(rows)]


def read_result(store: Store, prefix: str) -> dict[str, Any]:
    """How a stage ended: the fields of ``StageResult``; losses are the whole stage's first and last, over attempts."""
    result: dict[str, Any] = json.loads(store.get(f"{prefix}/result.json"))
    losses = [row["loss"] for row in read_curve(store, prefix) if row["loss"] is not None]
    return result | {"first_loss": losses[0], "last_loss": losses[-1]}
