"""The doctor's checks: each takes what is known of a run so far, says in a line what it found, and raises one of the
project's errors (what, where, what to do) for what would not work."""

from pipelines.checks.known import InPart, Known
from pipelines.checks.machine import raw, storage, tracking, versions, weights
from pipelines.checks.training import answers, budgets, dataset, engine, memory, modules, samples

CHECKS = (
    (versions, ()),
    (storage, ()),
    (tracking, ()),
    (raw, ()),
    (weights, ()),
    (engine, ("weights",)),
    (dataset, ("storage",)),
    (budgets, ("dataset", "weights")),
    (answers, ("budgets",)),
    (samples, ("budgets",)),
    (modules, ("samples", "engine")),
    (memory, ("budgets", "engine")),
)
"""Every check, and the checks without which it cannot be made."""

__all__ = [
    "CHECKS",
    "InPart",
    "Known",
    "answers",
    "budgets",
    "dataset",
    "engine",
    "memory",
    "modules",
    "raw",
    "samples",
    "storage",
    "tracking",
    "versions",
    "weights",
]
