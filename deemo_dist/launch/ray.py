"""Ray: a job through a cluster's job server. Nothing of this environment goes with it, so no secret does either.

Credentials belong into the environment of the cluster's nodes, or into the file named by ``launch.environment`` there:
Ray shows a job's ``runtime_env`` to whoever can see the job.
"""

import json
import os
import shlex
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deemo_dist.errors import LaunchError
from deemo_dist.launch.job import FAILED, PENDING, RUNNING, STOPPED, SUCCEEDED, Job, JobHandle

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
ANSWER_SECONDS = 10.0
_STATES = {"PENDING": PENDING, "RUNNING": RUNNING, "SUCCEEDED": SUCCEEDED, "FAILED": FAILED, "STOPPED": STOPPED}


def submit_ray(job: Job, *, dry_run: bool = False) -> JobHandle:
    """Send a job to Ray's job server.

    Raises ``LaunchError``: no answer from the server within ten seconds, or it refuses.
    """
    address = job.launch.ray_address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
    entrypoint = render_entrypoint(job, address=address)
    if dry_run:
        return JobHandle(kind="ray", rendered=rendered(entrypoint, address=address))
    client = connect(address)
    try:
        sent = client.submit_job(entrypoint=entrypoint, runtime_env={}, metadata={"deemo": job.name})
    except (RuntimeError, OSError) as error:
        raise LaunchError(f"Ray at {address} refused the job: {_first_line(error)}") from error

    def ask(one: str) -> str:
        try:
            return _STATES[client.get_job_status(one).value]
        except (RuntimeError, OSError) as error:
            raise LaunchError(f"Ray at {address} cannot be asked about {one}: {_first_line(error)}") from error

    hint = f"ray job logs --address {address} {sent}"
    return JobHandle(
        kind="ray",
        rendered=rendered(entrypoint, address=address),
        ids=(sent,),
        stdout_hint=hint,
        ask=ask,
    )


def render_entrypoint(job: Job, *, address: str) -> str:
    """The shell line that the job runs on the head node: where Ray starts it, if that is another machine and no
    ``launch.workdir`` is given, else there or here."""
    python = job.launch.python or _python_there(address)
    if job.verb == "train":
        command = _driver(job, python)
    else:
        more = ("execution.executor=ray", "execution.address=auto")
        command = job.shelled(job.command(*more, python=python))
    there = job.launch.workdir or (job.workdir if _is_here(address) else None)
    return "".join([f"cd {shlex.quote(there)} && " if there else "", f"exec {shlex.join(command)}"])


def _driver(job: Job, python: str) -> tuple[str, ...]:
    """The command that places the ranks and watches over them."""
    launch = job.launch
    options = {
        "ranks": job.ranks,
        "cpus": launch.cpus_per_rank,
        "gpus": launch.gpus_per_rank,
        "memory-mb": launch.memory_mb_per_rank,
        "threads": job.threads,
        "restarts": launch.requeues,
        "wait": launch.ray_wait_seconds,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    words.append(f"--progress={shlex.join(job.shelled(job.progress_command(python=python)))}")
    if failed := job.failed_command(python=python):
        words.append(f"--failed={shlex.join(job.shelled(failed))}")
    body = job.shelled(job.command(python=python))
    return (python, "-m", "deemo_dist.launch.ray_driver", *words, "--", *body)


def _python_there(address: str) -> str:
    """This interpreter where the cluster is on this machine, else the ``python`` of its nodes."""
    return sys.executable if _is_here(address) else "python"


def _is_here(address: str) -> bool:
    """Whether an address is this machine's, as far as it says; a tunnel's is taken for one."""
    host = urlsplit(address).hostname or ""
    return host == "localhost" or host.startswith("127.")


def rendered(entrypoint: str, *, address: str) -> str:
    """The submission as a command that does the same."""
    return f"ray job submit --address {address} --no-wait -- bash -c {shlex.quote(entrypoint)}\n"


def connect(address: str) -> "JobSubmissionClient":
    """A client of the job server. Raises ``LaunchError`` if nothing that is Ray answers in time."""
    hint = "is the address right (launch.ray_address, --address) and the dashboard port reachable?"
    if urlsplit(address).scheme not in ("http", "https"):
        raise LaunchError(f"'{address}' is not the address of a job server", hint="such as http://127.0.0.1:8265")
    try:
        with urllib.request.urlopen(f"{address}/api/version", timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - http(s)
            json.load(answer)["ray_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise LaunchError(f"Ray's job server at {address} does not answer: {_first_line(reason)}", hint=hint) from error
    from ray.job_submission import JobSubmissionClient

    return JobSubmissionClient(address)


def _first_line(error: object) -> str:
    return (str(error).splitlines() or [""])[0][:300] or type(error).__name__
