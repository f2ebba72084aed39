"""Training: one stage at a time, on ZeRO ranks, resumable at any world size.

Each rank process calls ``train_stage(spec)`` for stage after stage and ``leave()`` at the end. Nothing heavy is
imported here: torch and DeepSpeed load at the first use of a name that needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deemo_dist.training.callbacks import ProgressLines
from deemo_dist.training.schedule import factor, micro_steps
from deemo_dist.training.signals import listening
from deemo_dist.training.spec import Callback, CommitInfo, StageResult, StageSpec, StepBatches, StepReport

if TYPE_CHECKING:
    from deemo_dist.training.checkpoint.commit import Commit, commits, discard, finished, take_attempt
    from deemo_dist.training.checkpoint.layout import state_digest
    from deemo_dist.training.checkpoint.restore import finished_whole, read_full_state
    from deemo_dist.training.consumption import lives_of, read_rows
    from deemo_dist.training.ranks import Ranks, attempt_of, join, leave
    from deemo_dist.training.stage import train_stage
    from deemo_dist.training.state import load_trained
    from deemo_dist.training.trainable import Trainable, apply_rules
    from deemo_dist.training.watchdog import watching

_LAZY = {
    "Commit": "checkpoint.commit",
    "commits": "checkpoint.commit",
    "discard": "checkpoint.commit",
    "finished": "checkpoint.commit",
    "take_attempt": "checkpoint.commit",
    "state_digest": "checkpoint.layout",
    "finished_whole": "checkpoint.restore",
    "read_full_state": "checkpoint.restore",
    "lives_of": "consumption",
    "read_rows": "consumption",
    "Ranks": "ranks",
    "attempt_of": "ranks",
    "join": "ranks",
    "leave": "ranks",
    "train_stage": "stage",
    "load_trained": "state",
    "Trainable": "trainable",
    "apply_rules": "trainable",
    "watching": "watchdog",
}

__all__ = [
    "Callback",
    "Commit",
    "CommitInfo",
    "ProgressLines",
    "Ranks",
    "StageResult",
    "StageSpec",
    "StepBatches",
    "StepReport",
    "Trainable",
    "apply_rules",
    "attempt_of",
    "commits",
    "discard",
    "factor",
    "finished",
    "finished_whole",
    "join",
    "leave",
    "listening",
    "lives_of",
    "load_trained",
    "micro_steps",
    "read_full_state",
    "read_rows",
    "state_digest",
    "take_attempt",
    "train_stage",
    "watching",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"deemo_dist.training.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'deemo_dist.training' has no attribute {name!r}")
