"""Rank, world and job, read from one place whether Ray Train, torchrun or SLURM started the process.

Precedence: Ray Train's context (handed over by ``launch`` as torchrun's variables), torchrun, a SLURM *step*, single.
A SLURM batch shell also has SLURM_PROCID=0 and SLURM_NTASKS=2 and would wait for ever for its peers, so SLURM counts
only where SLURM_STEP_ID is a number, and none of those that SLURM keeps for its own steps, an interactive shell's too.
"""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from deemo_dist.errors import DeemoError

_RESERVED_STEPS = 0xFFFFFFF0


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where this process stands: ``rank`` of ``world`` ranks, ``local_rank`` on this host, and the meeting point."""

    rank: int
    world: int
    local_rank: int
    launcher: str
    master_addr: str
    master_port: int

    def variables(self) -> dict[str, str]:
        """The environment variables that ``torch.distributed`` and DeepSpeed read."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world),
            "LOCAL_RANK": str(self.local_rank),
            "MASTER_ADDR": self.master_addr,
            "MASTER_PORT": str(self.master_port),
        }


def placement(variables: Mapping[str, str] | None = None) -> Placement:
    """Read this process's placement. Raises ``DeemoError`` for half-set or contradictory variables."""
    env = os.environ if variables is None else variables
    if "RANK" in env or "WORLD_SIZE" in env:
        found = _from_torchrun(env)
    elif _is_step(env.get("SLURM_STEP_ID", "")):
        found = _from_slurm(env)
    else:
        found = Placement(
            rank=0, world=1, local_rank=0, launcher="single", master_addr="127.0.0.1", master_port=_port(env)
        )
    if not 0 <= found.rank < found.world:
        raise DeemoError(f"rank {found.rank} of {found.world} ranks makes no sense", hint=f"set by {found.launcher}")
    return found


def _is_step(text: str) -> bool:
    return text.isdecimal() and int(text) < _RESERVED_STEPS


def _from_torchrun(env: Mapping[str, str]) -> Placement:
    return Placement(
        rank=_integer(env, "RANK"),
        world=_integer(env, "WORLD_SIZE"),
        local_rank=int(env.get("LOCAL_RANK", "0")),
        launcher=env.get("DEEMO_LAUNCHER", "torchrun"),
        master_addr=env.get("MASTER_ADDR", "127.0.0.1"),
        master_port=_port(env),
    )


def _from_slurm(env: Mapping[str, str]) -> Placement:
    return Placement(
        rank=_integer(env, "SLURM_PROCID"),
        world=_integer(env, "SLURM_NTASKS"),
        local_rank=int(env.get("SLURM_LOCALID", "0")),
        launcher="slurm",
        master_addr=env.get("MASTER_ADDR") or _first_host(env.get("SLURM_JOB_NODELIST", "")),
        master_port=_port(env),
    )


def _integer(env: Mapping[str, str], name: str) -> int:
    try:
        return int(env[name])
    except (KeyError, ValueError):
        raise DeemoError(
            f"the environment variable {name} is missing or not a number",
            hint="the launcher must set rank and world together (torchrun sets RANK and WORLD_SIZE)",
        ) from None


def _port(env: Mapping[str, str]) -> int:
    """MASTER_PORT, or one derived from the SLURM job so that two jobs on a node do not meet."""
    if env.get("MASTER_PORT"):
        return _integer(env, "MASTER_PORT")
    return 20000 + int(env.get("SLURM_JOB_ID", "0")) % 10000


def _first_host(nodelist: str) -> str:
    """First host of a SLURM node list such as ``node[1-2,7]``, by scontrol where there is one."""
    try:
        shown = subprocess.run(
            ["scontrol", "show", "hostnames", nodelist],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return shown.stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        match = re.match(r"([^\[,]+)(?:\[(\d+))?", nodelist)
        return (match.group(1) + (match.group(2) or "")) if match else "127.0.0.1"


def gpus() -> int:
    """GPUs that this process may use: none under ``DS_ACCELERATOR=cpu``, which DeepSpeed reads too."""
    if os.environ.get("DS_ACCELERATOR") == "cpu":
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
