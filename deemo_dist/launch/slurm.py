"""SLURM: batch scripts from the templates in ``cluster/slurm``, ``sbatch``, and the state of what was sent."""

import os
import re
import shlex
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from deemo_dist.errors import LaunchError
from deemo_dist.launch.job import FAILED, PENDING, RUNNING, STOPPED, SUCCEEDED, Job, JobHandle

TEMPLATES = Path(__file__).parents[2] / "cluster" / "slurm"
COMMAND_SECONDS = 60.0
POLL_SECONDS = 10.0
_STATES = {
    "PENDING": PENDING,
    "REQUEUED": PENDING,
    "REQUEUE_HOLD": PENDING,
    "SUSPENDED": PENDING,
    "CONFIGURING": PENDING,
    "RUNNING": RUNNING,
    "COMPLETING": RUNNING,
    "COMPLETED": SUCCEEDED,
    "CANCELLED": STOPPED,
    "PREEMPTED": STOPPED,
}


def submit_slurm(job: Job, *, dry_run: bool = False) -> JobHandle:
    """Send a job by ``sbatch``: training as one job, preprocessing as an array and a job after it that commits.

    Raises ``LaunchError``: no ``sbatch`` here, a refusal of SLURM's, a template's variable without a value. What was
    sent before a refusal is cancelled.
    """
    scripts = render_job(job)
    text = "\n".join(scripts)
    if dry_run:
        return JobHandle(kind="slurm", rendered=text)
    Path(job.workdir, job.launch.logs).mkdir(parents=True, exist_ok=True)
    ids: list[str] = []
    for script in scripts:
        after = (f"--dependency=afterok:{ids[-1]}", "--kill-on-invalid-dep=yes") if ids else ()
        try:
            ids.append(sbatch(script, *after, withheld=job.withheld()))
        except LaunchError as error:
            _take_back(ids, error)
            raise
    where = " ".join(output_path(job, number=one, array=len(ids) > 1 and one == ids[0]) for one in ids)
    return JobHandle(kind="slurm", rendered=text, ids=tuple(ids), stdout_hint=where, ask=state, poll=POLL_SECONDS)


def _take_back(ids: Sequence[str], refused: LaunchError) -> None:
    """Cancel jobs that were sent before one was ``refused``: without it they are of no use. Raises ``LaunchError`` that
    names them where they cannot be cancelled."""
    if not ids:
        return
    try:
        _ask(["scancel", *ids])
    except LaunchError as error:
        raise LaunchError(
            refused.message, hint=f"{error.message}: what was sent before goes on, end it by: scancel {' '.join(ids)}"
        ) from refused


def submit_tasks(job: Job, tasks: Sequence[int]) -> str:
    """Send these tasks of a preprocessing job's array; the array's job id. Raises as ``submit_slurm``."""
    Path(job.workdir, job.launch.logs).mkdir(parents=True, exist_ok=True)
    at_once = f"%{job.launch.tasks_at_once}" if job.launch.tasks_at_once else ""
    return sbatch(render_job(job)[0], f"--array={spans(tasks)}{at_once}", withheld=job.withheld())


def spans(tasks: Sequence[int]) -> str:
    """Numbers as SLURM takes them: ``0-3,7``."""
    parts: list[list[int]] = []
    for task in sorted(set(tasks)):
        if parts and task == parts[-1][-1] + 1:
            parts[-1].append(task)
        else:
            parts.append([task])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def alive_tasks(name: str) -> set[int]:
    """The tasks that wait or run of this user's arrays called ``name``. Raises ``LaunchError``: no answer."""
    user = str(os.getuid())
    listed = _ask(["squeue", "--noheader", "--array", f"--user={user}", f"--name={name}", "--format=%K"])
    return {int(word) for word in listed.split() if word.isdigit()}


def cancel_named(name: str, *, waiting: bool = False) -> None:
    """End this user's jobs called ``name``, or those of them that wait. Raises ``LaunchError``: no answer."""
    state = ["--state=PENDING"] if waiting else []
    _ask(["scancel", f"--user={os.getuid()}", f"--name={name}", *state])


def render_job(job: Job) -> tuple[str, ...]:
    """The batch scripts of a job, in the order in which they are sent."""
    if job.verb == "train":
        return (render("train.sbatch.j2", _train_values(job)),)
    share = job.command(f"execution.tasks={job.launch.tasks}", "execution.executor=local")
    whole = job.command("execution.executor=local")
    array = _preprocess_values(job) | {"finish": False, "command": share}
    finish = _preprocess_values(job) | {"finish": True, "command": whole, "output": output_path(job, number="%j")}
    return (render("preprocess.sbatch.j2", array), render("preprocess.sbatch.j2", finish))


def output_path(job: Job, *, number: str, array: bool = False) -> str:
    """Where a job writes; ``number`` may be SLURM's own ``%j``."""
    tail = f"{number}_%a" if array else number
    return str(Path(job.workdir, job.launch.logs, f"{job.name}-{tail}.out"))


def _common_values(job: Job) -> dict[str, Any]:
    launch = job.launch
    return {
        "name": job.name,
        "minutes": launch.minutes,
        "partition": launch.partition,
        "account": launch.account,
        "workdir": job.workdir,
        "environment": launch.environment,
        "setup": launch.setup,
        "threads": job.threads,
    }


def _train_values(job: Job) -> dict[str, Any]:
    launch = job.launch
    return _common_values(job) | {
        "nodes": launch.nodes,
        "ranks_per_node": launch.ranks_per_node,
        "cpus_per_rank": launch.cpus_per_rank,
        "gpus_per_node": launch.gpus_per_rank * launch.ranks_per_node,
        "memory_mb_per_node": launch.memory_mb_per_rank * launch.ranks_per_node,
        "signal_seconds": launch.signal_seconds,
        "requeues": launch.requeues,
        "output": output_path(job, number="%j"),
        "command": job.command(),
        "progress": job.progress_command(),
        "failed": job.failed_command(),
    }


def _preprocess_values(job: Job) -> dict[str, Any]:
    launch = job.launch
    return _common_values(job) | {
        "tasks": launch.tasks,
        "tasks_at_once": launch.tasks_at_once,
        "cpus": launch.cpus_per_rank,
        "gpus": launch.gpus_per_rank,
        "memory_mb": launch.memory_mb_per_rank,
        "output": output_path(job, number="%A", array=True),
    }


def render(template: str, values: Mapping[str, Any], *, folder: Path = TEMPLATES) -> str:
    """Fill a template; every value is quoted for the shell or checked for the directive it stands in.

    Raises ``LaunchError`` that names the template and the variable without a value, or the value that does not fit.
    """
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 - shell, not HTML: `words`, `q` and `directive` do the quoting
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(q=shlex.quote, words=shlex.join, directive=_directive)
    try:
        return environment.get_template(template).render(**values)
    except jinja2.TemplateNotFound as error:
        raise LaunchError(f"the template {folder / template} is missing", hint="is the checkout whole?") from error
    except jinja2.UndefinedError as error:
        raise LaunchError(f"{folder / template}: {error.message}", hint="give it a value under launch.*") from error
    except jinja2.TemplateSyntaxError as error:
        raise LaunchError(f"{folder / template} line {error.lineno}: {error.message}") from error


def _directive(value: str) -> str:
    """A value in an ``#SBATCH`` line, which no shell reads: a blank or a quote in it cannot be written safely."""
    if not re.fullmatch(r"[\w./%:@+=,\-]+", value):
        raise LaunchError(
            f"{value!r} cannot stand in an #SBATCH line", hint="use letters, digits and . _ - / % : @ + = , only"
        )
    return value


def sbatch(script: str, *options: str, withheld: Collection[str] = ()) -> str:
    """Send a script; SLURM's job id. Raises ``LaunchError`` with what SLURM said.

    SLURM keeps the environment of ``sbatch`` with the job and gives it to the job: without the variables ``withheld``.
    """
    return _ask(["sbatch", "--parsable", *options], text=script, withheld=withheld).strip().split(";")[0]


def state(job_id: str) -> str:
    """The state of a job: one of ``job``'s words. An array is running until all its tasks have ended.

    Raises ``LaunchError`` when SLURM does not know the job (any more).
    """
    shown = _ask(["scontrol", "--oneliner", "show", "job", job_id])
    words = [_STATES.get(word, FAILED) for word in re.findall(r"\bJobState=(\w+)", shown)]
    for word in (FAILED, STOPPED, RUNNING, PENDING):
        if word in words:
            return word
    return SUCCEEDED


def _ask(command: Sequence[str], *, text: str | None = None, withheld: Collection[str] = ()) -> str:
    """Run one of SLURM's commands; its output. Raises ``LaunchError`` in one line."""
    env = {name: value for name, value in os.environ.items() if name not in withheld}
    try:
        done = subprocess.run(
            command, input=text, env=env, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise LaunchError(
            f"there is no {command[0]} on this machine",
            hint="submit from a login node of the SLURM cluster, or look at the script with --dry-run",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LaunchError(
            f"{command[0]} did not answer within {COMMAND_SECONDS:g} s", hint="is slurmctld up? try: scontrol ping"
        ) from error
    if done.returncode != 0:
        said = " / ".join(line.strip() for line in done.stderr.splitlines() if line.strip())[:400]
        raise LaunchError(f"{command[0]} failed: {said or f'exit code {done.returncode}'}", hint="try: sinfo")
    return done.stdout
