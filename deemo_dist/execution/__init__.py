"""The one room that runs work in parallel: ``run(units, factory)`` on local processes or Ray actors."""

from deemo_dist.execution.run import run, share
from deemo_dist.execution.work import placed

__all__ = ["placed", "run", "share"]
