"""``deemo doctor``: would this run's training work? Asked before anything is started, in seconds, on any machine."""

import logging
import time
from dataclasses import dataclass
from typing import Any, Literal

from deemo_dist.config import RunConfig
from deemo_dist.console import logger
from deemo_dist.errors import DeemoError, TrainingError
from deemo_dist.planning.train.hardware import gpu_of
from pipelines.checks import CHECKS, InPart, Known, answers, engine, memory, modules, samples

State = Literal["ok", "in part", "fails", "not looked at"]
BEFORE_TRAINING = (engine, answers, samples, modules, memory)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check's outcome: what was found, and for one that fails what to do."""

    check: str
    state: State
    found: str
    seconds: float
    hint: str = ""

    def line(self) -> str:
        """As a person reads it."""
        hint = f" - {self.hint}" if self.hint else ""
        return f"{self.state:13} {self.check:9} {self.found}{hint}"


def examine(
    config: RunConfig, *, ranks: int | None = None, gpu: str | None = None, steps: int = 2, seconds: float = 20.0
) -> list[Finding]:
    """Every check in order; one whose ground another has shown not to be there is not looked at. One that had not time
    enough to look at all is done in part, which its line says.

    ``ranks`` of the training (default: those of the run); ``gpu`` whose memory counts, in place of this machine's;
    ``steps`` whose packs are loaded and run, for ``seconds`` at most each. Raises ``ConfigError`` for a GPU that is not
    known.
    """
    if gpu is not None:
        gpu_of(gpu)
    known = Known(config=config, world=ranks or ranks_of(config), gpu=gpu, steps=steps, seconds=seconds)
    findings: dict[str, Finding] = {}
    for check, needs in CHECKS:
        missing = [name for name in needs if findings[name].state not in ("ok", "in part")]
        if missing:
            name = check.__name__
            findings[name] = Finding(check=name, state="not looked at", found=f"needs {missing[0]}", seconds=0.0)
        else:
            findings[check.__name__] = _made(check, known)
    return list(findings.values())


def _made(check: Any, known: Known) -> Finding:
    """One check, made."""
    started = time.perf_counter()
    try:
        said = check(known)
        found, state, hint = (said.found, "in part", "") if isinstance(said, InPart) else (said, "ok", "")
    except DeemoError as error:
        found, state, hint = error.message, "fails", error.hint or ""
    seconds = time.perf_counter() - started
    return Finding(check=check.__name__, state=state, found=found, seconds=seconds, hint=hint)  # type: ignore[arg-type]


def ranks_of(config: RunConfig) -> int:
    """Ranks that the run's training would have: a cluster's where one is asked for, else this machine's."""
    asked = config.launch.nodes * config.launch.ranks_per_node
    return asked if asked > 1 else config.engine.ranks


def preflight(known: Known) -> None:
    """The checks that a training has not made by itself when its stages are planned (``known``), before its first
    step: a few seconds. Raises ``TrainingError`` for what fails."""
    for check in BEFORE_TRAINING:
        found = _made(check, known)
        if found.state == "fails":
            raise TrainingError(
                f"the check '{found.check}' fails: {found.found}",
                hint=f"{found.hint + '; ' if found.hint else ''}every check: deemo doctor -c RUN; none: "
                "engine.preflight=false",
            )
        logger.log(logging.INFO if found.state == "in part" else logging.DEBUG, "%s", found.line())
