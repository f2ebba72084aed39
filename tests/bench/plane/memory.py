"""Peak memory of a plan: ``python -m tests.bench.plane.memory [ROWS]`` (100,000,000 by default; some minutes).

A table of lengths is written to a store; then a process of its own reads it, makes the plan of one epoch with every
window tabulated, and takes steps out of it; then it makes the numbers of the examples (row and task of each), beside
all that. What it ever held in memory is the kernel's figure (VmHWM), of the whole
process, libraries included.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from deemo_dist.config import StorageConfig
from deemo_dist.dataset import Budget, PlanSettings, StepPlan
from deemo_dist.dataset.instructions import numbered
from deemo_dist.dataset.lengths import LengthTable, read_lengths, write_lengths
from deemo_dist.dataset.windows import Groups
from deemo_dist.storage import open_store

SHARD = 640
KEY = "lengths/bench.parquet"
BUDGET = Budget(tokens=4096, frames=512, audio_seconds=600.0)
GIB = 2**30


def columns_of(rows: int) -> list[np.ndarray]:
    """Tokens, targets, frames and audio milliseconds of as many examples, of the sizes that clips have."""
    draw = np.random.default_rng(0)
    bounds = (("u2", 60, 1200), ("u1", 1, 60), ("u1", 0, 17), ("u2", 0, 30_000))
    return [draw.integers(low, high, rows, dtype=kind) for kind, low, high in bounds]


def peak() -> int:
    """The most bytes that this process ever had in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status does not say VmHWM")


def plan_here(root: str, rows: int) -> dict[str, float]:
    """Read the lengths, plan, take steps; what it took."""
    before, started = peak(), time.perf_counter()
    lengths: LengthTable = read_lengths(open_store(StorageConfig(root=root)), KEY, rows, digest="bench")
    read = time.perf_counter() - started
    offsets = np.append(np.arange(0, rows, SHARD), rows).astype(np.int64)
    settings = PlanSettings(seed=1, epochs=1, packs_per_step=512, budget=BUDGET)
    plan = StepPlan(lengths, Groups(offsets=offsets), settings)
    for position in (0.0, 0.5, 1.0):
        plan.slice(int((plan.steps - 1) * position), 0, 64)
    seconds, planned = time.perf_counter() - started, peak()
    numbers = numbered(np.arange(rows, dtype=np.uint32), [np.ones(rows, bool)])
    held = {"examples": sum(each.nbytes for each in numbers), "with_examples": peak()}
    figures = {"rows": rows, "steps": plan.steps, "before": before, "peak": planned, "read": read, "seconds": seconds}
    return {**figures, **held}


def measured(rows: int) -> dict[str, Any]:
    """The figures of :func:`plan_here`, in a process that did nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        root = f"file://{folder}"
        write_lengths(open_store(StorageConfig(root=root)), KEY, columns_of(rows), dataset_digest="bench")
        command = [sys.executable, "-m", "tests.bench.plane.memory", str(rows), root]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000_000
    if len(sys.argv) > 2:
        sys.stdout.write(json.dumps(plan_here(sys.argv[2], wanted)))
    else:
        figures = measured(wanted)
        top, before = figures["peak"] / GIB, figures["before"] / GIB
        sys.stdout.write(f"{wanted:,} rows, {figures['steps']:,} steps: peak {top:.3f} GiB, {before:.3f} before them; ")
        examples, most = figures["examples"] / GIB, figures["with_examples"] / GIB
        sys.stdout.write(f"the examples' numbers are {examples:.3f} GiB, with them the peak is {most:.3f} GiB; ")
        sys.stdout.write(f"lengths read in {figures['read']:.1f} s, all in {figures['seconds']:.1f} s\n")
