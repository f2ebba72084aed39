"""What Ray and the ranks' actors answer to the driver, or the project's own error in one line."""

from typing import Any

from deemo_dist.errors import LaunchError

ANSWER_SECONDS = 60.0


class NodeLostError(LaunchError):
    """A rank's node or actor is gone: not the rank's own fault, so the ranks may be placed anew."""


def join_cluster() -> None:
    """Connect to the Ray that runs on this machine. Raises ``LaunchError`` where there is none."""
    import ray

    try:
        ray.init(address="auto", log_to_driver=False, configure_logging=False)
    except ConnectionError as error:
        raise LaunchError(
            f"Ray does not answer on this machine: {_last_line(error)}",
            hint="the driver runs on a node of the cluster: is Ray up there? try: ray status",
        ) from error


def answer(reference: Any, *, who: str) -> Any:
    """What an actor's method returned; ``who``: whose actor, for a person.

    Raises ``NodeLostError`` when the actor is gone or says nothing for a minute, ``LaunchError`` when the method failed
    on its node, which it would do again.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

    try:
        return ray.get(reference, timeout=ANSWER_SECONDS)
    except (RayActorError, GetTimeoutError) as error:
        said = _last_line(error)
        cause = f"Ray says: {said}" if said else None
        raise NodeLostError(f"{who} was lost with its node or its actor", hint=cause) from error
    except RayTaskError as error:
        raise LaunchError(
            f"{who} failed on its node: {_last_line(error)}",
            hint="launch.workdir and launch.python must be on every node, and a node must have room for a process",
        ) from error


def _last_line(error: Exception) -> str:
    """What an error says at its end, without the traceback that Ray puts before."""
    said = [line for line in str(error).splitlines() if line.strip() and not line[0].isspace()]
    return said[-1][:300] if said else ""
