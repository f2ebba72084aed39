"""Sends a verb of a run to this machine's processors, to SLURM or to Ray: the same process body under each."""

from deemo_dist.launch.job import Job, JobHandle
from deemo_dist.launch.local import run_ranks
from deemo_dist.launch.submission import submit

__all__ = ["Job", "JobHandle", "run_ranks", "submit"]
