"""Workers as Ray actors: of a cluster by its address, or of a Ray started here and ended with the run.

Only units go into Ray's object store and only results come out; media never do. One unit a actor is in flight.
"""

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from deemo_dist.config import ExecutionConfig
from deemo_dist.console import logger
from deemo_dist.errors import LaunchError, StalledError
from deemo_dist.execution.tries import Tries
from deemo_dist.execution.work import Outcome, Worker

OBJECT_STORE_BYTES = 100 * 2**20
QUIET_SECONDS = 60.0
_DEFAULTS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


class WorkerOnRay(Worker):
    """A worker that says where it is."""

    def node(self) -> str:
        """The id of the Ray node that this worker is on: it has been placed once this is answered."""
        import ray

        return str(ray.get_runtime_context().get_node_id())


@dataclass
class _Actor:
    """An actor, its node's id once it has been placed, and the unit it works on, at first its start. ``generation``:
    that of ``Tries`` when it was made."""

    handle: Any
    generation: int
    node: str | None = None
    unit: int | None = None


@dataclass
class _Actors:
    """The actors of a run by the reference that each will answer next: its place, or an outcome.

    An actor is placed, then started, and only then gets its first unit: one that waits for room, on a cluster that has
    lost a node, holds nothing that another could do.
    """

    make: Callable[[], Any]
    busy: dict[Any, _Actor] = field(default_factory=dict)
    idle: list[_Actor] = field(default_factory=list)

    def employ(self, tries: Tries[Any], workers: int) -> None:
        """Give waiting units to idle actors; make new ones, up to ``workers``, for the rest."""
        while self.idle and (number := tries.take()) is not None:
            actor = self.idle.pop()
            actor.unit = number
            self.busy[actor.handle.attempt.remote(tries.units[number])] = actor
        starting = sum(actor.unit is None or actor.unit < 0 for actor in self.busy.values())
        for _ in range(min(len(tries.waiting) - starting, workers - len(self.busy) - len(self.idle))):
            actor = _Actor(self.make(), tries.generation)
            self.busy[actor.handle.node.remote()] = actor

    def hung(self, tries: Tries[Any]) -> None:
        """Kill the actors whose unit has taken too long, and put those units back."""
        for number in tries.overdue():
            reference, actor = next((key, one) for key, one in self.busy.items() if one.unit == number)
            del self.busy[reference]
            _kill(actor)
            tries.hung(number)

    def end(self) -> None:
        """Kill all actors."""
        for actor in [*self.idle, *self.busy.values()]:
            _kill(actor)


def run_on_ray(
    tries: Tries[Any],
    factory: Callable[[], Callable[[Any], Any]],
    config: ExecutionConfig,
    on_result: Callable[[Any, Any], None],
) -> None:
    """See :func:`deemo_dist.execution.run`. Raises ``LaunchError`` when the cluster is not there or too small."""
    with _connected(config):
        import ray

        actors = _Actors(make=_maker(factory, config))
        last = time.monotonic()
        try:
            while tries.open:
                actors.employ(tries, config.workers)
                ready, _ = ray.wait(list(actors.busy), num_returns=1, timeout=tries.patience(QUIET_SECONDS))
                for reference in ready:
                    last = time.monotonic()
                    _settle(actors.busy.pop(reference), reference, actors, tries, on_result)
                actors.hung(tries)
                if time.monotonic() - last > QUIET_SECONDS:
                    last = time.monotonic()
                    _say_who_waits(actors)
        finally:
            actors.end()


def _settle(
    actor: _Actor, reference: Any, actors: _Actors, tries: Tries[Any], on_result: Callable[[Any, Any], None]
) -> None:
    """Take one answer: an actor's place, its start, a unit's result, an error, or a dead actor whose unit goes back."""
    import ray

    try:
        answer = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise LaunchError(f"Ray could not run a unit: {type(error.cause).__name__}") from None
    except ray.exceptions.RayError as error:
        _kill(actor)
        number = tries.start(actor.generation) if actor.unit is None else actor.unit
        tries.lost(number, type(error).__name__, node=not _is_alive(actor.node))
        return
    if actor.unit is None:
        actor.node, actor.unit = answer, tries.start(actor.generation)
        actors.busy[actor.handle.prepare.remote()] = actor
        return
    outcome: Outcome = answer
    number, actor.unit = actor.unit, None
    actors.idle.append(actor)
    if isinstance(outcome.error, StalledError) and number >= 0:
        tries.stalled(number, outcome.error)
    elif outcome.error is not None:
        raise outcome.error
    elif number < 0:
        tries.started(number)
    else:
        on_result(tries.done(number), outcome.result)


def _kill(actor: _Actor) -> None:
    import ray

    with contextlib.suppress(ray.exceptions.RayError, ValueError):
        ray.kill(actor.handle)


def _is_alive(node: str | None) -> bool:
    """Whether the cluster takes a node for alive."""
    import ray

    return any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())


def _say_who_waits(actors: _Actors) -> None:
    """A cluster without room starts no worker, and says nothing."""
    waiting = sum(actor.node is None for actor in actors.busy.values())
    if waiting:
        logger.warning(
            "%d of %d workers wait for room in the Ray cluster", waiting, len(actors.busy) + len(actors.idle)
        )


def _maker(factory: Callable[[], Callable[[Any], Any]], config: ExecutionConfig) -> Callable[[], Any]:
    """What makes an actor with the declared resources. It is not restarted by Ray: a dead one is replaced here."""
    import ray

    options: dict[str, Any] = {"num_cpus": config.cpus_per_worker, "max_restarts": 0, "max_task_retries": 0}
    if config.gpus_per_worker:
        options["num_gpus"] = config.gpus_per_worker
    if config.memory_mb_per_worker:
        options["memory"] = config.memory_mb_per_worker * 2**20
    kind = ray.remote(**options)(WorkerOnRay)
    return lambda: kind.remote(factory)


@contextlib.contextmanager
def _connected(config: ExecutionConfig) -> Iterator[None]:
    """Ray for the time of a run. A connection that the process already had is used and left open."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        ray.init(**_arguments(config))
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise LaunchError(
            f"the Ray cluster at '{config.address or 'this machine'}' cannot be used ({type(error).__name__})",
            hint="check execution.address; leave it out to start a local Ray",
        ) from None
    try:
        _check_resources(ray.cluster_resources(), config)
        yield
    finally:
        ray.shutdown()


def _arguments(config: ExecutionConfig) -> dict[str, Any]:
    """How Ray is started or reached. A local one is small: it carries units and receipts only."""
    shared: dict[str, Any] = {"log_to_driver": False, "configure_logging": True, "logging_level": logging.ERROR}
    if config.address is not None:
        return {**shared, "address": config.address}
    return {
        **shared,
        "address": "local",
        "include_dashboard": False,
        "num_cpus": max(1, math.ceil(config.workers * config.cpus_per_worker)),
        "object_store_memory": OBJECT_STORE_BYTES,
    }


def _check_resources(found: dict[str, float], config: ExecutionConfig) -> None:
    """Refuse a worker that no cluster of this size can ever start: it would be waited for without end."""
    asked = {
        "CPU": config.cpus_per_worker,
        "GPU": config.gpus_per_worker,
        "memory": config.memory_mb_per_worker * 2**20,
    }
    for name, amount in asked.items():
        if amount > found.get(name, 0.0):
            raise LaunchError(
                f"a worker asks for {amount:g} {name}, the Ray cluster has {found.get(name, 0.0):g}",
                hint="lower execution.cpus_per_worker, gpus_per_worker or memory_mb_per_worker",
            )
