"""The one room that runs work in parallel: ``run(units, factory)`` on local processes or Ray actors."""

from deemo_dist.execution.run import run, share

__all__ = ["run", "share"]
