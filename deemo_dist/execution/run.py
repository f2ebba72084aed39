"""Run units of work in parallel, each to its end exactly once as far as the caller sees."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from deemo_dist.config import ExecutionConfig
from deemo_dist.errors import ConfigError
from deemo_dist.execution.array import Array, run_as_array
from deemo_dist.execution.tries import Tries

U = TypeVar("U")
R = TypeVar("R")


def run(
    units: Sequence[U],
    factory: Callable[[], Callable[[U], R]],
    *,
    config: ExecutionConfig,
    on_result: Callable[[U, R], None],
    array: Array | None = None,
) -> None:
    """Apply a worker function to every unit, on ``config.workers`` workers, and hand each result to ``on_result``.

    ``factory`` must be picklable; it is called once in each worker process and returns the function. At most one unit
    a worker is in flight; nothing but units goes in and nothing but results comes out. ``on_result`` runs in the
    calling process, in the order of completion; what it raises ends the run.

    The death of a worker, or of its node, loses only its unit, which is tried elsewhere a bounded number of times; so
    is a unit that takes longer than ``config.unit_seconds``; its worker is killed. A unit whose function raises
    ``StalledError`` is tried again so often, too. Raises what the function raised if that is a ``DeemoError``, else
    ``DeemoError``. Under ``slurm`` the units are done by the tasks of ``array``, which
    run the project's own command; the factory is not called. However it ends (Ctrl-C too), no worker process is left.
    """
    if config.executor == "slurm":
        if array is None:
            raise ConfigError("this work does not run as a SLURM array", hint="execution.executor: local or ray")
        run_as_array(units, array, on_result)
        return
    check(config)
    if not units:
        return
    if config.executor == "ray":
        from deemo_dist.execution.ray import run_on_ray as execute
    else:
        from deemo_dist.execution.local import run_locally as execute
    execute(Tries(units, seconds=config.unit_seconds), factory, config, on_result)


def check(config: ExecutionConfig) -> None:
    """Refuse what no work can be done by. Raises ``ConfigError``."""
    if config.workers < 1:
        raise ConfigError(f"execution.workers is {config.workers}", hint="1 at least")
    if config.unit_seconds <= 0:
        raise ConfigError(f"execution.unit_seconds is {config.unit_seconds:g}", hint="a time above 0")


def share(units: Sequence[U], config: ExecutionConfig) -> Sequence[U]:
    """The units of task ``config.task`` of ``config.tasks``: to be taken of *all* units, done ones included."""
    if not 0 <= config.task < config.tasks:
        raise ConfigError(f"execution.task is {config.task} of {config.tasks} tasks", hint="tasks count from 0")
    return units[config.task :: config.tasks]
