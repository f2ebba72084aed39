"""A real SLURM with two nodes on this machine, for tests and for trying things out. Needs root, slurm-wlm and munge.

``with LocalSlurm() as slurm: job = slurm.submit("#!/bin/bash\\nsrun hostname\\n"); slurm.wait(job)``
"""

import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from cluster.local import processes
from deemo_dist.errors import LaunchError

_HINT = "cluster/local/install-system installs slurm-wlm and munge"
_CONF = """\
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={munge},cred_expire=10
CredType=cred/munge
StateSaveLocation={state}/ctld
SlurmdSpoolDir={state}/spool.%n
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd.%n.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=10
KillWait=5
MinJobAge=3600
JobRequeue=1
EnforcePartLimits=ALL
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={state}/jobcomp.txt
NodeName=node[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{second}] CPUs={cpus} RealMemory=4000
PartitionName=batch Nodes=node[1-2] Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=10 MaxTime=INFINITE
PartitionName=urgent Nodes=node[1-2] PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE
"""


class LocalSlurm:
    """Two ``slurmd`` and a ``slurmctld`` with their own munge, ports and state folder; ended by their process ids.

    ``env`` has what SLURM's commands need (SLURM_CONF). Partitions: ``batch``, and ``urgent``, which preempts it.
    """

    def __init__(self, folder: Path | None = None, *, cpus: int = 4) -> None:
        self._own = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-")) if folder is None else folder
        self.cpus = cpus
        self.env = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._servers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        """Start everything. Raises ``LaunchError``: a program is missing, not root, a daemon does not come up."""
        if os.geteuid() != 0:
            raise LaunchError("a local SLURM needs root: its daemons run as root", hint="run as root")
        try:
            self._configure()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Cancel what runs and end the daemons."""
        if len(self._servers) > 1:
            subprocess.run(
                ["scancel", "--signal=KILL", "--user=root"], env=self._environment(), capture_output=True, timeout=30
            )
            self._settle()
        for server in reversed(self._servers):
            processes.end(server)
        self._servers.clear()
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def submit(self, script: str, *options: str) -> str:
        """Send a batch script by ``sbatch``; the job's id."""
        return self.run("sbatch", "--parsable", *options, text=script).strip()

    def state(self, job: str) -> str:
        """SLURM's own word for the state of a job, such as COMPLETED."""
        found = re.search(r"JobState=(\w+)", self.run("scontrol", "--oneliner", "show", "job", job))
        return found[1] if found else "UNKNOWN"

    def wait(self, job: str, *, seconds: float = 120.0, states: tuple[str, ...] = ()) -> str:
        """Wait until a job has ended, or is in one of ``states``. Raises ``LaunchError`` after ``seconds``."""
        wanted = states or ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        limit = time.monotonic() + seconds
        while (state := self.state(job)) not in wanted:
            if time.monotonic() > limit:
                raise LaunchError(f"job {job} is still {state} after {seconds:g} s")
            time.sleep(0.5)
        return state

    def output(self, job: str) -> str:
        """What a job has written so far."""
        found = re.search(r"StdOut=(\S+)", self.run("scontrol", "--oneliner", "show", "job", job))
        path = Path(found[1]) if found else None
        return path.read_text(errors="replace") if path is not None and path.exists() else ""

    def run(self, *command: str, text: str | None = None) -> str:
        """Run one of SLURM's commands on this cluster. Raises ``LaunchError`` with what it said."""
        done = subprocess.run(
            command, env=self._environment(), input=text, capture_output=True, text=True, timeout=60, cwd=self.folder
        )
        if done.returncode:
            raise LaunchError(f"{command[0]} failed: {done.stderr.strip()}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.env}

    def _settle(self) -> None:
        """Give cancelled jobs a moment to leave their nodes, so that no step outlives its daemon."""
        limit = time.monotonic() + 10
        while time.monotonic() < limit:
            listed = subprocess.run(["squeue", "-h"], env=self._environment(), capture_output=True, timeout=30)
            if not listed.stdout.strip():
                return
            time.sleep(0.3)

    def _configure(self) -> None:
        for name in ("munge", "ctld", "spool.node1", "spool.node2"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        (self.folder / "munge").chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        ctld, first, second = processes.free_ports(3)
        conf = _CONF.format(
            host=socket.gethostname(),
            ctld=ctld,
            first=first,
            second=second,
            munge=self.folder / "munge" / "munge.sock",
            state=self.folder,
            cpus=self.cpus,
        )
        (self.folder / "slurm.conf").write_text(conf)
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\nIgnoreSystemd=yes\n")

    def _start(self) -> None:
        munge, folder = self.folder / "munge", self.folder
        files = [f"--{name}={munge / name}" for name in ("pid-file", "seed-file", "log-file")]
        options = ["--foreground", "--force", f"--key-file={folder / 'munge.key'}", f"--socket={munge / 'munge.sock'}"]
        self._daemon("munged", *options, *files)
        processes.wait_for((munge / "munge.sock").exists, seconds=15, what="munged", log=folder / "munged.out")
        self._daemon("slurmctld", "-D", "-i")
        for node in ("node1", "node2"):
            self._daemon("slurmd", "-D", "-N", node)
        processes.wait_for(self._nodes_are_idle, seconds=40, what="SLURM", log=folder / "slurmctld.log")

    def _daemon(self, program: str, *options: str) -> None:
        path = processes.need(program, hint=_HINT)
        self._servers.append(processes.start([path, *options], log=self.folder / f"{program}.out", env=self.env))

    def _nodes_are_idle(self) -> bool:
        shown = subprocess.run(
            ["sinfo", "-h", "-N", "-p", "batch", "-o", "%T"], env=self._environment(), capture_output=True, text=True
        )
        return shown.stdout.split() == ["idle", "idle"]
