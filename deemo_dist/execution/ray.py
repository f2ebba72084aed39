"""Workers as Ray actors: of a cluster by its address, or of a Ray started here and ended with the run.

Only units go into Ray's object store and only results come out; media never do. One unit a actor is in flight.
"""

import contextlib
import logging
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from deemo_dist.config import ExecutionConfig
from deemo_dist.errors import LaunchError
from deemo_dist.execution.tries import Tries
from deemo_dist.execution.work import Outcome, Worker

OBJECT_STORE_BYTES = 100 * 2**20
_DEFAULTS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


@dataclass
class _Actors:
    """Actors, and which reference belongs to which actor and unit."""

    make: Callable[[], Any]
    idle: list[Any] = field(default_factory=list)
    running: dict[Any, tuple[Any, int]] = field(default_factory=dict)

    def count(self) -> int:
        return len(self.idle) + len(self.running)

    def employ(self, tries: Tries[Any], workers: int) -> None:
        """Give waiting units to idle actors, making new ones up to ``workers``."""
        while tries.waiting and (self.idle or self.count() < workers):
            actor = self.idle.pop() if self.idle else self.make()
            number = tries.take()
            assert number is not None
            self.running[actor.attempt.remote(tries.units[number])] = (actor, number)

    def end(self) -> None:
        """Kill all actors."""
        import ray

        for actor in [*self.idle, *(actor for actor, _ in self.running.values())]:
            with contextlib.suppress(ray.exceptions.RayError, ValueError):
                ray.kill(actor)


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
        try:
            while tries.open:
                actors.employ(tries, config.workers)
                ready, _ = ray.wait(list(actors.running), num_returns=1)
                for reference in ready:
                    _settle(reference, actors, tries, on_result)
        finally:
            actors.end()


def _settle(reference: Any, actors: _Actors, tries: Tries[Any], on_result: Callable[[Any, Any], None]) -> None:
    """Take one finished reference: a result, an error, or a dead actor whose unit goes back."""
    import ray

    actor, number = actors.running.pop(reference)
    try:
        outcome: Outcome = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise LaunchError(f"Ray could not run a unit: {type(error.cause).__name__}") from None
    except ray.exceptions.RayError as error:
        with contextlib.suppress(ray.exceptions.RayError, ValueError):
            ray.kill(actor)
        tries.lost(number, type(error).__name__)
        return
    actors.idle.append(actor)
    if outcome.error is not None:
        raise outcome.error
    on_result(tries.done(number), outcome.result)


def _maker(factory: Callable[[], Callable[[Any], Any]], config: ExecutionConfig) -> Callable[[], Any]:
    """What makes an actor with the declared resources. It is not restarted by Ray: a dead one is replaced here."""
    import ray

    options: dict[str, Any] = {"num_cpus": config.cpus_per_worker, "max_restarts": 0, "max_task_retries": 0}
    if config.gpus_per_worker:
        options["num_gpus"] = config.gpus_per_worker
    if config.memory_mb_per_worker:
        options["memory"] = config.memory_mb_per_worker * 2**20
    kind = ray.remote(**options)(Worker)
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
