"""What a forecast says of a dataset ten times as large is what one takes: memory, resume, the first batch."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deemo_dist.config import RunConfig, StorageConfig
from deemo_dist.dataset import StepPlan
from deemo_dist.planning.data.forecast import Cluster, Forecast, Scale, forecast
from deemo_dist.planning.data.traffic import Traffic
from deemo_dist.storage import open_store
from pipelines.plan_data import measured
from pipelines.stages import PlannedStage
from tests.large import STAGE, make_large, start

pytestmark = pytest.mark.slow
FEW, MANY = 10_000, 100_000
FACTOR = 4
CLUSTER = Cluster(ranks=1, nodes=1, workers=0, cpus=1, step_seconds=None, network=None, memory=None)


class Packer:
    """A processor that keeps nothing."""

    def pack(self, examples: Any) -> dict[str, Any]:
        return {}

    def null_pack(self) -> dict[str, Any]:
        return {}


def foretold(root: str) -> Forecast:
    """What a run on ten times the dataset at ``root`` would take."""
    store = open_store(StorageConfig(root=root))
    plan, examples, _ = start(store, "said")
    began = time.perf_counter()
    StepPlan(plan.lengths, examples.groups, plan.settings)
    window = (time.perf_counter() - began) / STAGE.epochs  # which is the only one of an epoch
    stage = PlannedStage(
        name="s", config=STAGE, examples=examples, plan=plan, key="k", prefix="runs/r/s", validation=None
    )
    figures = measured(RunConfig(name="r"), stage, Packer(), store, window * STAGE.window / len(examples))  # type: ignore[arg-type]
    scale = Scale(
        samples=MANY,
        distinct=len(examples) * MANY // FEW,
        examples=len(examples) * MANY // FEW * STAGE.epochs,
        windows=MANY * STAGE.epochs // STAGE.window,
        steps=plan.steps * MANY // FEW,
        cache_bytes=0,
        requests_per_second=100.0,
    )
    return forecast([Traffic()], 0, CLUSTER, scale, figures, table_is_kept=False)


def test_memory_resume_and_first_batch_are_as_foretold(tmp_path: Path) -> None:
    """Memory within a third; times within a factor of four, for a machine that others use too."""
    roots = [f"file://{tmp_path / name}" for name in ("few", "many")]
    for root, samples in zip(roots, (FEW, MANY), strict=True):
        make_large(open_store(StorageConfig(root=root)), samples)
    told = foretold(roots[0])
    runs = []
    for _ in range(3):
        for key in open_store(StorageConfig(root=roots[1])).list("plans/"):
            open_store(StorageConfig(root=roots[1])).delete(key)
        done = subprocess.run([sys.executable, "-m", "tests.large", *roots], check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout))
    took = {name: min(run[name] for run in runs) for name in runs[0]}
    assert took["peak"] == pytest.approx(told.process_memory, rel=1 / 3), (took, told)
    assert told.resume_seconds / FACTOR < took["again"] < FACTOR * told.resume_seconds, (took, told)
    assert told.first_batch_seconds / FACTOR < took["first"] < FACTOR * told.first_batch_seconds, (took, told)
