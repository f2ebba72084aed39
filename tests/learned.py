"""What trainings of the demo learned and how long they took, read from their stores; and as a table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deemo_dist.storage import Store

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Learned:
    """One run: accuracies on held-out people (of all modalities, of each alone, of the body's two), seconds that its
    stages trained, and seconds of its commands altogether."""

    name: str
    accuracy: Mapping[str, float]
    training: float
    whole: float

    def __str__(self) -> str:
        scores = ", ".join(f"{modality} {value:.3f}" for modality, value in self.accuracy.items())
        return f"{self.name}: {scores}; {self.training:.0f} s of training, {self.whole:.0f} s with all around it"


def learned_in(store: Store, name: str, *, whole: float) -> Learned:
    """What the run called ``name`` left in the store; ``whole``: seconds that its commands took."""
    keys = [key for key in store.list(f"runs/{name}/") if key.endswith("/result.json")]
    (evaluated,) = [json.loads(store.get(key)) for key in keys if "/evaluation-" in key]
    stages = [json.loads(store.get(key)) for key in keys if "/evaluation-" not in key]
    return Learned(
        name=name,
        accuracy={ALL: evaluated["accuracy"], **evaluated["ablation"]},
        training=sum(float(stage["seconds"]) for stage in stages),
        whole=whole,
    )


def as_table(runs: Sequence[Learned]) -> str:
    """A row a run: accuracy by modality, and its seconds; then the sums of the seconds. No runs: nothing."""
    if not runs:
        return ""
    modalities = list(runs[0].accuracy)
    width = max(len(run.name) for run in runs) + 2
    head = f"{'run':{width}}" + "".join(f"{name:>8}" for name in modalities) + f"{'training s':>12}{'whole s':>9}"
    rows = [
        f"{run.name:{width}}"
        + "".join(f"{run.accuracy[name]:8.3f}" for name in modalities)
        + f"{run.training:12.0f}{run.whole:9.0f}"
        for run in runs
    ]
    sums = sum(run.training for run in runs), sum(run.whole for run in runs)
    last = f"{'together':{width}}" + " " * 8 * len(modalities) + f"{sums[0]:12.0f}{sums[1]:9.0f}"
    return "\n".join([head, *rows, last])
