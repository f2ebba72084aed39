"""Preprocessing as a SLURM array that ``execution.run`` sends: the project's own command, a task a share of units."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from deemo_dist.config import RunConfig
from deemo_dist.console import logger
from deemo_dist.dataset import committed_units, read_receipt
from deemo_dist.errors import LaunchError
from deemo_dist.execution import Array
from deemo_dist.execution import check as check_execution
from deemo_dist.launch import Job
from deemo_dist.launch.job import check as check_job
from deemo_dist.launch.slurm import alive_tasks, cancel_named, output_path, submit_tasks
from deemo_dist.records import Receipt, Unit
from deemo_dist.storage import Store
from pipelines.sealed import SealedUnit
from pipelines.told import Told


def preprocess_array(config: RunConfig, store: Store, prefix: str, units: Sequence[Unit]) -> Array:
    """The array of ``launch.tasks`` tasks that does ``units``, all of the dataset's: a task takes every so-many-th.

    The array is called after the dataset and where it is stored, so that a driver that comes back finds the tasks
    of the one before. What the tasks run is there while there are tasks, readable by its owner alone.
    """
    tasks, told, job = config.launch.tasks, Told.of(config), _job(config)
    place: Mapping[int, int] = {unit.index: number for number, unit in enumerate(units)}
    one = replace(config, execution=replace(config.execution, executor="local", task=0, tasks=1))

    def submit(numbers: Sequence[int]) -> None:
        told.write(one)
        submit_tasks(job, numbers)

    def results(waiting: Sequence[SealedUnit]) -> Iterable[tuple[SealedUnit, Receipt]]:
        done = committed_units(store, prefix)
        return [(unit, read_receipt(store, prefix, unit.index)) for unit in waiting if unit.index in done]

    return Array(
        task_of=lambda unit: place[unit.index] % tasks,
        submit=submit,
        alive=lambda: alive_tasks(job.name),
        cancel=lambda: cancel_named(job.name),
        results=results,
        ended=lambda: _end(job, told),
        logs=output_path(job, number="*"),
    )


def refuse_no_room(config: RunConfig) -> None:
    """Refuse a preprocessing that nothing could do: to be called before a version is begun.

    Raises ``ConfigError`` for ``execution``, ``LaunchError`` for ``launch`` where it is an array.
    """
    check_execution(config.execution)
    if config.execution.executor == "slurm":
        check_job(_job(config))


def _job(config: RunConfig) -> Job:
    return Job(
        verb="preprocess",
        run=str(Told.of(config).path),
        launch=config.launch,
        threads=config.engine.threads,
        root_key=config.keys.variable,
    )


def _end(job: Job, told: Told) -> None:
    """Take away what tasks were told, and tasks that have not begun: they would look for it, and find nothing to do."""
    if not told.exists():
        return
    try:
        cancel_named(job.name, waiting=True)
    except LaunchError as error:
        logger.warning("%s; %s is left for tasks that may wait: remove it after them", error.message, told.path)
        return
    told.remove()
