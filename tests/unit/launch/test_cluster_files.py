"""The files under cluster/: valid by the tools that read them, as far as these can be asked offline."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
CLUSTER = ROOT / "cluster"


@pytest.mark.slow
def test_ray_accepts_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((CLUSTER / "ray" / "cluster.yaml").read_text()))
    validate_config(config)
    assert config["head_node_type"] in config["available_node_types"]


def _kuberay() -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / "ray" / "kuberay.yaml").read_text())


def test_kuberay_has_the_shape_of_a_ray_cluster_and_the_locked_version() -> None:
    cluster = _kuberay()
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    locked = re.search(r"^ray(?:\[.*\])?==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked is not None
    assert cluster["spec"]["rayVersion"] == locked[1]
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        for container in group["template"]["spec"]["containers"]:
            assert container["resources"]["limits"] == container["resources"]["requests"]
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert all("secretRef" in source for source in container["envFrom"])
    worker = cluster["spec"]["workerGroupSpecs"][0]
    assert worker["minReplicas"] <= worker["replicas"] <= worker["maxReplicas"]
    names = {volume["name"] for volume in worker["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in worker["template"]["spec"]["containers"][0]["volumeMounts"]} <= names


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.gpu"])
def test_images_copy_what_is_there_and_do_not_run_as_root(name: str) -> None:
    lines = (CLUSTER / "docker" / name).read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    there = {path.split("/")[0] for path in tracked.splitlines()} or {path.name for path in ROOT.iterdir()}
    assert set(copied) - {"README.md"} <= there
    assert [line for line in lines if line.startswith("USER ")] == ["USER deemo"]


def test_the_gpu_image_has_the_cuda_that_the_locked_torch_was_built_with() -> None:
    """torch's wheels on the package index are of CUDA 12 up to version 2.10, and of CUDA 13 from 2.11 on."""
    locked = re.search(r"^torch==(\d+)\.(\d+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    image = re.search(r"^FROM nvidia/cuda:(\d+)\.", (CLUSTER / "docker" / "Dockerfile.gpu").read_text(), re.MULTILINE)
    assert locked is not None
    assert image is not None
    assert image[1] == ("13" if (int(locked[1]), int(locked[2])) >= (2, 11) else "12")


def test_no_file_of_the_cluster_holds_a_secret() -> None:
    pattern = re.compile(r"(AKIA[0-9A-Z]{12,}|SECRET_ACCESS_KEY\s*[:=]\s*[^.\s\"']{8,}|BEGIN .*PRIVATE KEY)")
    for path in CLUSTER.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            assert not pattern.search(path.read_text()), path


def test_the_installer_is_a_valid_script() -> None:
    script = CLUSTER / "local" / "install-system"
    assert script.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", str(script)], check=True)


@pytest.mark.parametrize("name", ["cluster.yaml", "kuberay.yaml"])
def test_what_a_job_is_told_is_where_it_is_in_the_images(name: str) -> None:
    head = " ".join(line.removeprefix("#").strip() for line in (CLUSTER / "ray" / name).read_text().splitlines()[:6])
    assert "--address http://127.0.0.1:8265" in head and "launch.python=python" in head
    told = dict(re.findall(r"(launch\.workdir|storage\.cache)=([\w/]+)", head))
    for image in ("Dockerfile", "Dockerfile.gpu"):
        text = (CLUSTER / "docker" / image).read_text()
        assert f"WORKDIR {told['launch.workdir']}\n" in text
        assert f"chown deemo {told['storage.cache']} " in text
