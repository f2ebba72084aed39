"""The same work under SLURM, Ray and on S3: the same dataset, the same losses."""

from pathlib import Path

import pytest

from cluster.local.ray import LocalRay
from cluster.local.s3 import LocalS3
from cluster.local.slurm import LocalSlurm
from deemo_dist.dataset import open_dataset
from tests.system.conftest import Project
from tests.system.test_faults import curves, other_life

pytestmark = pytest.mark.system


def fresh(project: Project, folder: Path, **env: str) -> Project:
    """An empty store for the same manifest."""
    return Project(folder, f"file://{folder / 'store'}", project.extra, env)


def test_slurm_preprocesses_and_trains_like_this_machine(trained: Project, tmp_path: Path) -> None:
    with LocalSlurm() as slurm:
        project = fresh(trained, tmp_path, **slurm.env)
        where = [f"launch.logs={tmp_path / 'logs'}", "launch.minutes=10", "launch.partition=batch"]
        project.deemo("submit", "slurm", "preprocess", "--wait", more=[*where, "launch.tasks=2"])
        assert open_dataset(project.store, "tiny", "v1").digest == open_dataset(trained.store, "tiny", "v1").digest
        project.deemo("submit", "slurm", "train", "--nodes", "2", "--wait", more=where)
    logs = "".join(path.read_text() for path in (tmp_path / "logs").glob("*train*"))
    assert "instruct: done" in logs
    assert_same(curves(project), curves(trained))


def test_ray_preprocesses_and_trains_like_this_machine(trained: Project, tmp_path: Path) -> None:
    with LocalRay(cpus=1) as ray:
        project = fresh(trained, tmp_path)
        where = ["--address", ray.job_address, "--wait"]
        project.deemo("submit", "ray", "preprocess", *where, more=["execution.executor=ray", "execution.address=auto"])
        assert open_dataset(project.store, "tiny", "v1").digest == open_dataset(trained.store, "tiny", "v1").digest
        project.deemo("submit", "ray", "train", "--nodes", "2", *where)
    assert_same(curves(project), curves(trained))


def test_s3_gives_the_same_dataset_and_losses(trained: Project, tmp_path: Path) -> None:
    with LocalS3(tmp_path / "s3", bucket="tiny") as server:
        endpoint = f"storage.endpoint={server.endpoint}"
        project = Project(tmp_path, "s3://tiny/project", (*trained.extra, endpoint), server.environment())
        with pytest.MonkeyPatch.context() as patch:
            for name, value in server.environment().items():
                patch.setenv(name, value)
            project.deemo("preprocess")
            assert open_dataset(project.store, "tiny", "v1").digest == open_dataset(trained.store, "tiny", "v1").digest
            project.deemo("train")
            assert_same(curves(project), curves(trained))
            said = project.deemo("dataset", "verify", "--deep")
    assert "27 rows (every member's digest read)" in said


def test_one_rank_and_two_ranks_agree(trained: Project, tmp_path: Path) -> None:
    project = other_life(trained, tmp_path)
    project.deemo("train", more=["engine.ranks=1"])
    assert_same(curves(project), curves(trained))


def assert_same(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> None:
    """The same losses, stage by stage: within 1e-4 relative, since the order of sums may differ."""
    assert ours.keys() == theirs.keys()
    for stage, losses in theirs.items():
        assert ours[stage] == pytest.approx(losses, rel=1e-4)
