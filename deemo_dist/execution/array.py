"""Units as tasks of a batch system's array (SLURM's): sent from here, their results read from where tasks commit them.

Nothing comes back from a task itself: it may run on a node that knows nothing of this process, and outlive it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from deemo_dist.console import logger
from deemo_dist.errors import LaunchError
from deemo_dist.execution.tries import MAX_TRIES

POLL_SECONDS = 5.0
MAX_SILENT = 12


@dataclass(frozen=True, kw_only=True)
class Array:
    """An array job, as callables that know the batch system and the project's own command.

    ``task_of``: the task that does a unit. ``submit``: send these tasks. ``alive``: the tasks that wait or run, sent by
    this process or by one before it. ``cancel``: end them all. ``results``: of these units, those that are committed,
    each with its result. ``ended``: called once no task has anything left to do. ``logs``: where tasks write, for a
    person. Units are told apart by their hash.
    """

    task_of: Callable[[Any], int]
    submit: Callable[[Sequence[int]], None]
    alive: Callable[[], set[int]]
    cancel: Callable[[], None]
    results: Callable[[Sequence[Any]], Iterable[tuple[Any, Any]]]
    ended: Callable[[], None] = lambda: None
    logs: str = ""


def run_as_array(
    units: Sequence[Any], array: Array, on_result: Callable[[Any, Any], None], *, poll: float | None = None
) -> None:
    """See :func:`deemo_dist.execution.run`. A task that ended before its units were done is sent again.

    Raises ``LaunchError`` for tasks that end ``MAX_TRIES`` times in a row without a new result, where the batch system
    does not answer, or refuses tasks, ``MAX_SILENT`` times in a row, or where it refuses the very first ones. The array
    is cancelled if this ends by an exception; it goes on if this process is killed, and another one finds it.
    """
    waiting, tries = list(units), Counter[int]()
    silent = 0
    try:
        while waiting:
            alive = _asked(array, silent)
            fresh = list(array.results(waiting))  # after `alive`: what a task committed before it ended is seen
            done = {unit for unit, _ in fresh}
            waiting = [unit for unit in waiting if unit not in done]
            for unit, result in fresh:
                tries.pop(array.task_of(unit), None)
                on_result(unit, result)
            answered = alive is not None and _send_missing(array, waiting, alive, tries, silent)
            silent = 0 if answered else silent + 1
            if waiting:
                time.sleep(POLL_SECONDS if poll is None else poll)
    except BaseException:
        try:
            _cancel(array)
        finally:
            array.ended()
        raise
    array.ended()


def _cancel(array: Array) -> None:
    """End the tasks; where the batch system does not, that is said, and the error on the way is the one that counts."""
    try:
        array.cancel()
    except (LaunchError, OSError) as error:
        logger.warning("tasks of the array may go on by themselves, cancel them by hand: %s", error)


def _asked(array: Array, silent: int) -> set[int] | None:
    """The tasks that are alive; None when the batch system cannot say, which passes."""
    try:
        return array.alive()
    except LaunchError as error:
        if silent + 1 >= MAX_SILENT:
            raise
        logger.warning("%s; asked again", error.message)
        return None


def _send_missing(array: Array, waiting: Sequence[Any], alive: set[int], tries: Counter[int], silent: int) -> bool:
    """Send the tasks that have units to do and are not there; False when the batch system refused, which passes."""
    missing = sorted({array.task_of(unit) for unit in waiting} - alive)
    if not missing:
        return True
    worn = [task for task in missing if tries[task] >= MAX_TRIES]
    if worn:
        raise LaunchError(
            f"task {worn[0]} ended {MAX_TRIES} times without a new result", hint=f"look at its output: {array.logs}"
        )
    again = sum(tries[task] > 0 for task in missing)
    if again:
        logger.warning("%d tasks ended before their units were done: sent again", again)
    try:
        array.submit(missing)
    except LaunchError as error:
        if silent + 1 >= MAX_SILENT or not (alive or tries):  # what refuses the very first ones will go on refusing
            raise
        logger.warning("%s; sent again", error.message)
        return False
    tries.update(missing)
    return True
