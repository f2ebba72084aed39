"""``deemo submit``: send preprocessing or training to Ray, SLURM or this machine's processors."""

from collections.abc import Sequence

from deemo_dist.console import logger
from deemo_dist.errors import Interrupted, LaunchError
from deemo_dist.launch import JobHandle, submit
from deemo_dist.launch.job import STOPPED, SUCCEEDED


def run_submit(
    system: str,
    verb: str,
    run: str,
    overrides: Sequence[str],
    *,
    nodes: int | None = None,
    address: str | None = None,
    dry_run: bool = False,
    wait: bool = False,
) -> JobHandle:
    """Render the job and, unless ``dry_run``, send it; with ``wait`` see it to its end.

    Raises ``LaunchError`` when it cannot be sent or, waited for, fails; ``Interrupted`` when it was stopped.
    """
    handle = submit(system, verb, run, overrides, dry_run=dry_run, nodes=nodes, address=address)
    if dry_run:
        print(handle.rendered)
        return handle
    if not handle.ids:
        raise LaunchError(f"{system} took no job")
    if handle.kind != "local":
        logger.info("%s job %s is sent%s", handle.kind, handle.id, f"; its output: {handle.stdout_hint}")
    if wait or handle.kind == "local":
        _settle(handle, handle.wait())
    return handle


def _settle(handle: JobHandle, state: str) -> None:
    if state == STOPPED:
        raise Interrupted(f"{handle.kind} job {handle.id} was stopped", hint="send it again: it goes on where it was")
    if state != SUCCEEDED:
        raise LaunchError(
            f"{handle.kind} job {handle.id} {state}", hint=f"look at {handle.stdout_hint or 'its output'}"
        )
    logger.info("%s job %s succeeded", handle.kind, handle.id)
