"""``submit``: the one door to every cluster."""

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any

from deemo_dist.config import load
from deemo_dist.errors import LaunchError
from deemo_dist.launch.job import FAILED, KINDS, STOPPED, SUCCEEDED, Job, JobHandle, check, overrides_of
from deemo_dist.launch.local import run_ranks
from deemo_dist.launch.verdict import INTERRUPTED


def submit(
    kind: str,
    verb: str,
    run: str,
    overrides: Sequence[str] = (),
    *,
    dry_run: bool = False,
    nodes: int | None = None,
    address: str | None = None,
    body: Sequence[str] | None = None,
    progress: Sequence[str] | None = None,
) -> JobHandle:
    """Send ``verb`` (preprocess, train) of ``run`` to ``kind`` (local, slurm, ray).

    The run's configuration is loaded first, so that a wrong key is refused here and not an hour later in a queue; its
    ``launch`` part says how much room to ask for. ``local`` runs to the end before it returns.

    Args:
        kind: where to.
        verb: what.
        run: a configuration file or the name of one, as the cluster's nodes will find it too.
        overrides: ``key.sub=value`` each.
        dry_run: send nothing; the handle's ``rendered`` is what would have been sent.
        nodes: in place of ``launch.nodes``.
        address: of Ray's job server, in place of ``launch.ray_address``.
        body: in place of the command that the job (each rank of it) runs.
        progress: in place of the command that prints the last committed step.

    Raises:
        ConfigError: the run cannot be loaded.
        LaunchError: the cluster cannot be reached or refuses, or the request makes no sense.
    """
    if kind not in KINDS:
        raise LaunchError(f"there is no launcher '{kind}'", hint=f"one of {', '.join(KINDS)}")
    config = load(run, list(overrides))
    given: dict[str, Any] = {"nodes": nodes, "ray_address": address}
    launch = dataclasses.replace(config.launch, **{name: value for name, value in given.items() if value is not None})
    job = Job(
        verb=verb,  # type: ignore[arg-type]
        run=run,
        overrides=overrides_of(overrides),
        launch=launch,
        threads=config.engine.threads,
        root_key=config.keys.variable,
        body=None if body is None else tuple(body),
        progress=None if progress is None else tuple(progress),
    )
    check(job)
    return send(kind, job, ranks=config.engine.ranks, dry_run=dry_run)


def send(kind: str, job: Job, *, ranks: int = 1, dry_run: bool = False) -> JobHandle:
    """Send a job that is already put together. ``ranks``: of a local training."""
    if kind == "slurm":
        from deemo_dist.launch.slurm import submit_slurm

        return submit_slurm(job, dry_run=dry_run)
    if kind == "ray":
        from deemo_dist.launch.ray import submit_ray

        return submit_ray(job, dry_run=dry_run)
    return _run_here(job, ranks=ranks if job.verb == "train" else 1, dry_run=dry_run)


def _run_here(job: Job, *, ranks: int, dry_run: bool) -> JobHandle:
    """Run the job to its end on this machine."""
    command = job.command()
    text = f"{shlex.join(command)}  # x {ranks}\n"
    if dry_run:
        return JobHandle(kind="local", rendered=text)
    code = run_ranks(command, ranks=ranks, threads=job.threads, cwd=job.workdir)
    ended = {0: SUCCEEDED, INTERRUPTED: STOPPED}.get(code, FAILED)
    return JobHandle(kind="local", rendered=text, ids=("here",), exit_code=code, ask=lambda _: ended)
