"""The one room that runs work in parallel: ``run(units, factory)`` on local processes, Ray actors or a SLURM array."""

from deemo_dist.execution.array import Array
from deemo_dist.execution.run import check, run, share
from deemo_dist.execution.work import placed

__all__ = ["Array", "check", "placed", "run", "share"]
