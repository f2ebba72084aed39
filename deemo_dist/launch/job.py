"""What is sent to a cluster, and the handle on what was sent."""

import contextlib
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deemo_dist.config import LaunchConfig, has_password, without_key
from deemo_dist.console import logger
from deemo_dist.errors import LaunchError

Kind = Literal["local", "slurm", "ray"]
Verb = Literal["preprocess", "train"]
KINDS: tuple[Kind, ...] = ("local", "slurm", "ray")
VERBS: tuple[Verb, ...] = ("preprocess", "train")

SUCCEEDED, FAILED, STOPPED, PENDING, RUNNING = "succeeded", "failed", "stopped", "pending", "running"
ENDED = (SUCCEEDED, FAILED, STOPPED)
MAX_SILENT = 12
NONE_OR_MORE = (
    "gpus_per_rank",
    "memory_mb_per_rank",
    "tasks_at_once",
    "signal_seconds",
    "requeues",
    "ray_wait_seconds",
)
"""Numbers of ``launch`` that may be 0, and not below."""
_SECRET = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|ACCESS_KEY|API_KEY|ROOT_KEY|CREDENTIAL", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One verb of one run, with the room it asks for.

    ``body``: overrides the command that the job runs (each rank of it, for training). ``progress``: a command that
    prints the last committed step; a stopped job comes back only if what it prints has changed. ``failed``: a
    command that tells MLflow of a training that has failed. ``root_key``: the variable that holds the root key here,
    which no training may see.
    """

    verb: Verb
    run: str
    overrides: tuple[str, ...] = ()
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    threads: int = 1
    body: tuple[str, ...] | None = None
    progress: tuple[str, ...] | None = None
    failed: tuple[str, ...] | None = None
    root_key: str = "DEEMO_ROOT_KEY"

    @property
    def ranks(self) -> int:
        """Ranks in all."""
        return self.launch.nodes * self.launch.ranks_per_node

    @property
    def name(self) -> str:
        """``deemo-train-demo``: made of letters that every batch system takes."""
        stem = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in Path(self.run).stem)
        return f"deemo-{self.verb}-{stem}"

    @property
    def workdir(self) -> str:
        """Where the job runs: as configured, else here."""
        return self.launch.workdir or str(Path.cwd())

    def command(self, *more: str, python: str | None = None) -> tuple[str, ...]:
        """The command that a task or a rank runs; ``more`` overrides come last, so they win."""
        if self.body is not None:
            return self.body
        worker = ("--worker",) if self.verb == "train" else ()
        program = (python or self.launch.python or sys.executable, "-m", "pipelines.cli", self.verb)
        return (*program, "-c", self.run, *worker, *self.told, *more)

    @property
    def told(self) -> tuple[str, ...]:
        """The overrides that the job is told: where raw clips are is nothing that training reads."""
        return without_key(self.overrides, "data.manifest") if self.verb == "train" else tuple(self.overrides)

    def withheld(self) -> frozenset[str]:
        """The variables of this process that may not go with the job: the root key for a training, and all that look
        like secrets where ``launch.environment`` says what the job reads in their place."""
        own = {self.root_key} if self.verb == "train" or self.launch.environment else set()
        secret = [name for name in os.environ if _SECRET.search(name)] if self.launch.environment else []
        return frozenset({*own, *secret})

    def shelled(self, command: Sequence[str]) -> tuple[str, ...]:
        """The command after ``launch.setup``, with the variables of ``launch.environment``: by a shell, if need be."""
        lines = [*self.launch.setup]
        if self.launch.environment:
            lines = [f"set -a; . {shlex.quote(self.launch.environment)} || exit 1; set +a", *lines]
        return ("bash", "-c", "\n".join([*lines, 'exec "$@"']), "bash", *command) if lines else tuple(command)

    def failed_command(self, *, python: str | None = None) -> tuple[str, ...]:
        """The command that tells MLflow of a training that has failed; none for a body of the caller's own."""
        program = (python or self.launch.python or sys.executable, "-m", "pipelines.cli", "tracking", "failed")
        return self.failed or (() if self.body is not None else (*program, "-c", self.run, *self.told))

    def progress_command(self, *, python: str | None = None) -> tuple[str, ...]:
        """The command that prints the last committed step."""
        python = python or self.launch.python or sys.executable
        return self.progress or (python, "-m", "deemo_dist.launch.progress", "-c", self.run, *self.told)


@dataclass(frozen=True, kw_only=True)
class JobHandle:
    """A job that was sent, or, after a dry run, what would have been (``id`` is then empty).

    ``rendered``: the text of what is sent. ``ids``: every job of the batch system it became, the last one that ends
    being ``id``. ``stdout_hint``: where its output is found. ``exit_code``: of a local job, which has ended already.
    ``poll``: seconds from one question to the next; ``ended``: the jobs that have, which a cluster forgets.
    """

    kind: Kind
    rendered: str
    ids: tuple[str, ...] = ()
    stdout_hint: str = ""
    exit_code: int | None = None
    ask: Callable[[str], str] | None = None
    poll: float = 2.0
    ended: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def id(self) -> str:
        """The job whose end is the end of all."""
        return self.ids[-1] if self.ids else ""

    def status(self) -> str:
        """pending, running, succeeded, failed or stopped. Raises ``LaunchError`` when the cluster cannot be asked."""
        if self.ask is None or not self.ids:
            raise LaunchError("nothing was sent, so there is no status", hint="submit without --dry-run")
        for one in self.ids[:-1]:
            with contextlib.suppress(LaunchError):  # forgotten, as all that has ended is after a while
                if (state := self._state(one)) in (FAILED, STOPPED):
                    return state
        return self._state(self.id)

    def _state(self, one: str) -> str:
        """The state of one job; what has ended is not asked again."""
        assert self.ask is not None
        state = self.ended.get(one) or self.ask(one)
        if state in ENDED:
            self.ended[one] = state
        return state

    def wait(self, timeout: float | None = None, *, poll: float | None = None) -> str:
        """Wait for its end; the last status.

        Raises ``LaunchError`` after ``timeout`` seconds (the job goes on), or when the cluster could not be asked
        ``MAX_SILENT`` times in a row.
        """
        limit = None if timeout is None else time.monotonic() + timeout
        silent, state = 0, PENDING
        while True:
            try:
                silent, state = 0, self.status()
            except LaunchError as error:
                silent += 1
                if silent >= MAX_SILENT:
                    raise
                logger.warning("%s; asked again", error.message)
            if state in ENDED:
                return state
            if limit is not None and time.monotonic() > limit:
                raise LaunchError(f"{self.kind} job {self.id} is still {state} after {timeout:g} s")
            time.sleep(self.poll if poll is None else poll)


def check(job: Job) -> None:
    """Refuse what cannot be: an unknown verb, or room of no size. Raises ``LaunchError``."""
    if job.verb not in VERBS:
        raise LaunchError(f"'{job.verb}' cannot be submitted", hint=f"one of {', '.join(VERBS)}")
    for name in ("nodes", "ranks_per_node", "cpus_per_rank", "tasks", "minutes"):
        if getattr(job.launch, name) < 1:
            raise LaunchError(f"launch.{name} is {getattr(job.launch, name)}", hint="it must be 1 or more")
    for name in NONE_OR_MORE:
        if getattr(job.launch, name) < 0:
            raise LaunchError(f"launch.{name} is {getattr(job.launch, name)}", hint="it must be 0 or more")


def overrides_of(overrides: Sequence[str]) -> tuple[str, ...]:
    """Overrides as a tuple. Raises ``LaunchError`` for one that a command line would take for an option, or that holds
    a password: whoever sees the job would see it."""
    for override in overrides:
        if override.startswith("-"):
            raise LaunchError(f"'{override}' is no override", hint="overrides are written key.sub=value")
        if has_password(override):
            raise LaunchError(
                f"the override of {override.partition('=')[0]} holds a password, which the job would show",
                hint="write it into the run's file; for MLflow, set MLFLOW_TRACKING_USERNAME and _PASSWORD on the node",
            )
    return tuple(overrides)
