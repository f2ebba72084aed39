"""Waiting for a job that a cluster forgets, or cannot be asked about for a while."""

import pytest

from deemo_dist.errors import LaunchError
from deemo_dist.launch.job import MAX_SILENT, JobHandle

FORGOTTEN = LaunchError("Invalid job id specified")


class Cluster:
    """Answers from a list a job; an error is raised, the last answer stays."""

    def __init__(self, **answers: list[str | LaunchError]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def ask(self, one: str) -> str:
        self.asked.append(one)
        left = self.answers[one]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, LaunchError):
            raise answer
        return answer

    def handle(self) -> JobHandle:
        return JobHandle(kind="slurm", rendered="", ids=tuple(self.answers), ask=self.ask)


def test_the_array_may_be_forgotten_while_the_commit_runs() -> None:
    cluster = Cluster(array=["running", FORGOTTEN], commit=["pending", "running", "running", "succeeded"])
    assert cluster.handle().wait(5, poll=0) == "succeeded"


def test_what_has_ended_is_not_asked_again() -> None:
    cluster = Cluster(array=["succeeded", FORGOTTEN], commit=["running", "running", "succeeded", FORGOTTEN])
    handle = cluster.handle()
    assert handle.wait(5, poll=0) == "succeeded" and handle.status() == "succeeded"
    assert cluster.asked.count("array") == 1


def test_a_failed_task_is_a_failure_though_the_commit_was_only_cancelled() -> None:
    cluster = Cluster(array=["running", "failed"], commit=["pending", "stopped"])
    assert cluster.handle().wait(5, poll=0) == "failed"


def test_a_cluster_that_does_not_answer_for_a_while_is_asked_again() -> None:
    away = LaunchError("scontrol did not answer")
    assert Cluster(job=[away] * (MAX_SILENT - 1) + ["succeeded"]).handle().wait(5, poll=0) == "succeeded"
    with pytest.raises(LaunchError, match="did not answer"):
        Cluster(job=[away]).handle().wait(5, poll=0)
