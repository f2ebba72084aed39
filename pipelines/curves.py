"""Loss curves beside the checkpoints, so that a report can be made without asking a tracking server."""

import json
from typing import Any

from deemo_dist.digests import canonical_json
from deemo_dist.storage import Store
from deemo_dist.training import CommitInfo, StageResult, StageSpec, StepReport


class KeepCurve:
    """Writes this attempt's steps (step, loss, validation loss) where a checkpoint may follow, and at the end.

    Before the checkpoint, so that a life that ends right after its commit leaves no gap in the curve.
    """

    def __init__(self, store: Store, prefix: str, *, every: int) -> None:
        self.store, self.prefix, self.every = store, prefix, every
        self.attempt = 0
        self.rows: list[dict[str, Any]] = []

    def on_start(self, spec: StageSpec, *, start_step: int, attempt: int, trainable: dict[str, int]) -> None:
        """Note the attempt: each has its own object."""
        self.attempt = attempt

    def on_step(self, report: StepReport) -> None:
        """Remember a step; write them where a save is due or may be (a validation)."""
        row = {"step": report.step, "loss": report.loss, "validation_loss": report.validation_loss}
        self.rows.append({**row, "tokens_per_second": report.tokens_per_second})
        if report.validation_loss is not None or (self.every > 0 and (report.step + 1) % self.every == 0):
            self._write()

    def on_checkpoint(self, commit: CommitInfo) -> None:
        """Write also what came while the checkpoint was written."""
        self._write()

    def on_end(self, result: StageResult) -> None:
        """Write all, and how the stage ended."""
        self._write()
        self.store.put(f"{self.prefix}/result.json", canonical_json(result))

    def _write(self) -> None:
        self.store.put(f"{self.prefix}/curve/{self.attempt:04d}.json", canonical_json({"rows": self.rows}))


def read_curve(store: Store, prefix: str) -> list[dict[str, Any]]:
    """The steps of a stage in order; where attempts overlap, the later one's."""
    rows: dict[int, dict[str, Any]] = {}
    for key in sorted(store.list(f"{prefix}/curve/")):
        rows.update({row["step"]: row for row in json.loads(store.get(key))["rows"]})
    return [rows[step] for step in sorted(rows)]


def read_result(store: Store, prefix: str) -> dict[str, Any]:
    """How a stage ended: the fields of ``StageResult``; losses are the whole stage's first and last, over attempts."""
    result: dict[str, Any] = json.loads(store.get(f"{prefix}/result.json"))
    losses = [row["loss"] for row in read_curve(store, prefix)]
    return result | {"first_loss": losses[0], "last_loss": losses[-1]}
