"""Preprocessing as a SLURM array that ``execution.run`` sends: the project's own command, a task a share of units."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from deemo_dist.config import RunConfig, to_yaml
from deemo_dist.dataset import committed_units, read_receipt
from deemo_dist.digests import digest_of
from deemo_dist.execution import Array
from deemo_dist.launch import Job
from deemo_dist.launch.slurm import alive_tasks, cancel_named, output_path, submit_tasks
from deemo_dist.records import Receipt, Unit
from deemo_dist.storage import Store
from pipelines.sealed import SealedUnit


def preprocess_array(config: RunConfig, store: Store, prefix: str, units: Sequence[Unit]) -> Array:
    """The array of ``launch.tasks`` tasks that does ``units``, all of the dataset's: a task takes every so-many-th.

    The array is called after the dataset and where it is stored, so that a driver that comes back finds the tasks
    of the one before. What the tasks run is written beside their output, readable by its owner alone.
    """
    tasks = config.launch.tasks
    job = Job(
        verb="preprocess",
        run=str(_written(config)),
        launch=config.launch,
        threads=config.engine.threads,
        root_key=config.keys.variable,
    )
    place: Mapping[int, int] = {unit.index: number for number, unit in enumerate(units)}

    def results(waiting: Sequence[SealedUnit]) -> Iterable[tuple[SealedUnit, Receipt]]:
        done = committed_units(store, prefix)
        return [(unit, read_receipt(store, prefix, unit.index)) for unit in waiting if unit.index in done]

    return Array(
        task_of=lambda unit: place[unit.index] % tasks,
        submit=lambda numbers: _submit(job, numbers),
        alive=lambda: alive_tasks(job.name),
        cancel=lambda: cancel_named(job.name),
        results=results,
        logs=output_path(job, number="*"),
    )


def _submit(job: Job, numbers: Sequence[int]) -> None:
    submit_tasks(job, numbers)


def _written(config: RunConfig) -> Path:
    """The run's configuration as the tasks read it. It says where the manifest is."""
    data = config.data
    told = replace(config, execution=replace(config.execution, executor="local", task=0, tasks=1))
    place = digest_of({"root": config.storage.root, "tasks": config.launch.tasks})[:8]
    folder = Path(config.launch.workdir or Path.cwd(), config.launch.logs)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{data.name}-{data.version}-{place}.yaml"
    path.touch(mode=0o600)
    path.write_text(to_yaml(told))
    return path
