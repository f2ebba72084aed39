"""Tracking with MLflow: a run a chain, a child run a stage, through a spool that loses nothing and never blocks."""

from deemo_dist.tracking.carrier import Depot
from deemo_dist.tracking.connection import check, ui_command
from deemo_dist.tracking.models import download_model
from deemo_dist.tracking.replay import replay
from deemo_dist.tracking.spool import pending
from deemo_dist.tracking.tracked_run import TrackedRun, status_of
from deemo_dist.tracking.tracker import OTHERS, Tracker

__all__ = [
    "OTHERS",
    "Depot",
    "TrackedRun",
    "Tracker",
    "check",
    "download_model",
    "pending",
    "replay",
    "status_of",
    "ui_command",
]
