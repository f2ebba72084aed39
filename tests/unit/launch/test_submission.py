"""What would be sent, and what is refused before anything is."""

import re
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from deemo_dist.config import LaunchConfig, load
from deemo_dist.errors import ConfigError, LaunchError
from deemo_dist.launch import Job, submit
from deemo_dist.launch.job import NONE_OR_MORE
from deemo_dist.launch.progress import summarize
from deemo_dist.launch.ray import render_entrypoint, submit_ray
from deemo_dist.launch.ray_driver import by_node, rank_variables
from deemo_dist.launch.ray_ranks import Place
from deemo_dist.launch.slurm import render, render_job, spans, submit_slurm

NASTY = 'model.name=it\'s $(touch pwned); `id` "x"'


@pytest.fixture
def run_file(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text("name: tiny\nengine: {ranks: 2, threads: 3}\nlaunch: {partition: gpu, setup: [module load cuda]}\n")
    return str(path)


def _check_shell(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_a_dry_run_renders_the_training_script(run_file: str) -> None:
    handle = submit("slurm", "train", run_file, ["seed=3"], nodes=2, dry_run=True)
    assert handle.id == ""
    for line in (
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --partition=gpu",
        "#SBATCH --signal=B:USR1@120",
        "module load cuda",
        "export OMP_NUM_THREADS=3 PYTHONUNBUFFERED=1",
    ):
        assert line in handle.rendered.splitlines()
    assert f"-m pipelines.cli train -c {run_file} --worker seed=3 &" in handle.rendered
    assert "--gres" not in handle.rendered
    assert "srun --cpus-per-task=" in handle.rendered
    _check_shell(handle.rendered)


def test_preprocessing_becomes_an_array_and_a_job_that_commits(run_file: str) -> None:
    array, finish = render_job(Job(verb="preprocess", run=run_file, launch=LaunchConfig(tasks=5, tasks_at_once=2)))
    assert "#SBATCH --array=0-4%2" in array.splitlines()
    assert 'execution.tasks=5 execution.executor=local execution.task="$SLURM_ARRAY_TASK_ID"' in array
    assert "--array" not in finish
    assert "execution.task" not in finish
    _check_shell(array)
    _check_shell(finish)


def test_tasks_are_written_as_spans() -> None:
    assert spans([7, 0, 1, 2, 3, 9, 10, 2]) == "0-3,7,9-10"
    assert spans([5]) == "5"


def test_gpus_and_memory_are_asked_for_a_node(run_file: str) -> None:
    launch = LaunchConfig(nodes=2, ranks_per_node=8, gpus_per_rank=1, memory_mb_per_rank=1000)
    (script,) = render_job(Job(verb="train", run=run_file, launch=launch))
    assert "#SBATCH --gres=gpu:8" in script
    assert "#SBATCH --mem=8000M" in script


def test_the_shipped_run_for_gpus_asks_for_as_many_as_it_has_ranks() -> None:
    config = load("7b")
    assert config.launch.nodes * config.launch.ranks_per_node == config.engine.ranks
    (script,) = render_job(Job(verb="train", run="7b", launch=config.launch))
    assert f"#SBATCH --gres=gpu:{config.engine.ranks}" in script
    assert "srun --cpus-per-task=8 " in script


def test_values_are_quoted_for_the_shell(run_file: str, tmp_path: Path) -> None:
    for job in (
        Job(verb="train", run=run_file, overrides=(NASTY,), launch=LaunchConfig(python="echo", workdir=str(tmp_path))),
        Job(verb="preprocess", run=run_file, overrides=(NASTY,), launch=LaunchConfig(python="echo")),
    ):
        for script in render_job(job):
            assert shlex.quote(NASTY) in script
            _check_shell(script)
    entry = render_entrypoint(Job(verb="preprocess", run="x", overrides=(NASTY,)), address="http://127.0.0.1:1")
    assert NASTY in shlex.split(entry)


def test_a_value_that_does_not_fit_a_directive_is_refused(run_file: str) -> None:
    job = Job(verb="train", run=run_file, launch=LaunchConfig(partition="gpu\n#SBATCH --uid=0"))
    with pytest.raises(LaunchError, match="cannot stand in an #SBATCH line"):
        render_job(job)


def test_a_template_variable_without_a_value_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.sbatch.j2").write_text("#SBATCH --reservation={{ reservation }}\n")
    with pytest.raises(LaunchError, match=r"own\.sbatch\.j2: 'reservation' is undefined"):
        render("own.sbatch.j2", {}, folder=tmp_path)
    with pytest.raises(LaunchError, match=r"none\.j2 is missing"):
        render("none.j2", {}, folder=tmp_path)


def test_a_missing_sbatch_is_one_clear_line(run_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LaunchError, match="there is no sbatch on this machine - submit from a login node") as caught:
        submit_slurm(Job(verb="train", run=run_file))
    assert "\n" not in str(caught.value)


def test_an_unreachable_ray_is_said_in_time(run_file: str) -> None:
    started = time.monotonic()
    job = Job(verb="train", run=run_file, launch=LaunchConfig(ray_address="http://127.0.0.1:9"))
    with pytest.raises(LaunchError, match=r"job server at http://127\.0\.0\.1:9 does not answer: .*refused"):
        submit_ray(job)
    with pytest.raises(LaunchError, match="is not the address of a job server"):
        submit_ray(Job(verb="train", run=run_file, launch=LaunchConfig(ray_address="127.0.0.1:8265")))
    assert time.monotonic() - started < 5


def test_a_dry_run_for_ray_shows_the_command(run_file: str) -> None:
    rendered = submit("ray", "train", run_file, nodes=2, address="http://head.example:8265", dry_run=True).rendered
    assert rendered.startswith("ray job submit --address http://head.example:8265 --no-wait -- bash -c ")
    assert "python -m deemo_dist.launch.ray_driver --ranks=2" in rendered
    assert "runtime-env" not in rendered


@pytest.mark.parametrize(
    ("kind", "verb", "overrides", "message"),
    [
        ("pbs", "train", [], "there is no launcher 'pbs'"),
        ("slurm", "evaluate", [], "'evaluate' cannot be submitted"),
        ("slurm", "train", ["launch.nodes=0"], r"launch\.nodes is 0"),
    ],
)
def test_nonsense_is_refused(run_file: str, kind: str, verb: str, overrides: list[str], message: str) -> None:
    with pytest.raises(LaunchError, match=message):
        submit(kind, verb, run_file, overrides, dry_run=True)


@pytest.mark.parametrize("kind", ["local", "slurm", "ray"])
@pytest.mark.parametrize("name", NONE_OR_MORE)
def test_less_than_none_is_refused_and_none_is_not(run_file: str, kind: str, name: str) -> None:
    with pytest.raises(LaunchError) as caught:
        submit(kind, "train", run_file, [f"launch.{name}=-1"], dry_run=True)
    assert re.fullmatch(rf"launch\.{name} is -1(\.0)? - it must be 0 or more", str(caught.value))
    assert submit(kind, "train", run_file, [f"launch.{name}=0"], dry_run=True).rendered


def test_a_wrong_key_is_refused_before_anything_is_sent(run_file: str) -> None:
    with pytest.raises(ConfigError, match="did you mean 'nodes'"):
        submit("slurm", "train", run_file, ["launch.node=2"])


def test_a_local_job_runs_to_its_end(run_file: str) -> None:
    assert submit("local", "train", run_file, body=["true"]).status() == "succeeded"
    failed = submit("local", "train", run_file, body=["false"])
    assert (failed.status(), failed.exit_code) == ("failed", 1)
    assert "x 2" in submit("local", "train", run_file, dry_run=True).rendered


def test_a_dry_run_has_no_status(run_file: str) -> None:
    with pytest.raises(LaunchError, match="nothing was sent"):
        submit("local", "train", run_file, dry_run=True).status()


def test_progress_is_the_last_committed_step_of_each_stage() -> None:
    keys = ["runs/d/align/commits/50-1.json", "runs/d/align/commits/100-2.json", "runs/d/chat/commits/7-2.json"]
    assert summarize([*keys, "runs/d/chat/checkpoints/9-2/rank0.json", "runs/d/run.json"]) == "align:100 chat:7"
    assert summarize([]) == "0"


def test_local_ranks_on_ray_count_within_a_node() -> None:
    places = [Place(host="10.0.0.1", node="a", port=5), Place(host="10.0.0.2", node="b", port=6)]
    places.append(Place(host="10.0.0.1", node="a", port=7))
    assert [rank_variables(rank, places, threads=1, gpus=0)["LOCAL_RANK"] for rank in range(3)] == ["0", "0", "1"]
    third = rank_variables(2, places, threads=4, gpus=1)
    assert (third["LOCAL_RANK"], third["MASTER_ADDR"], third["MASTER_PORT"]) == ("0", "10.0.0.1", "5")


def test_ranks_of_a_node_are_neighbours_in_the_order_of_their_gpus() -> None:
    spread = [
        Place(host=node, node=node, port=1, gpu=gpu)
        for node, gpu in (("b", "10"), ("a", "1"), ("b", "9"), ("a", "0"), ("a", ""))
    ]
    assert by_node(spread) == [4, 3, 1, 2, 0]


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ``sbatch`` that writes down its environment; the file."""
    program, seen = tmp_path / "bin" / "sbatch", tmp_path / "environment"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nenv > {seen}\necho 7\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    for name in ("MY_KEY", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "HARMLESS"):
        monkeypatch.setenv(name, "set")
    return seen


@pytest.mark.parametrize(
    ("verb", "file", "sent"),
    [
        ("train", False, {"AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD"}),
        ("train", True, set()),
        ("preprocess", False, {"MY_KEY", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD"}),
        ("preprocess", True, set()),
    ],
)
def test_what_of_the_shell_goes_with_a_slurm_job(
    run_file: str, batch: Path, tmp_path: Path, verb: str, file: bool, sent: set[str]
) -> None:
    more = [f"launch.environment={tmp_path}/credentials"] if file else []
    submit("slurm", verb, run_file, ["keys.variable=MY_KEY", *more])
    names = {line.split("=")[0] for line in batch.read_text().splitlines()}
    assert names & {"MY_KEY", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD"} == sent
    assert "HARMLESS" in names


@pytest.fixture
def refusing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ``sbatch`` that takes one job and refuses the next, and a ``scancel``; the file that counts the calls."""
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    (folder / "sbatch").write_text(f"#!/bin/sh\necho sbatch >> {calls}\n[ $# -eq 1 ] && echo 7 && exit\nexit 1\n")
    (folder / "scancel").write_text(f'#!/bin/sh\necho scancel "$@" >> {calls}\n[ ! -e {tmp_path}/down ]\n')
    for program in folder.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return calls


@pytest.mark.parametrize(("down", "hint"), [(False, "try: sinfo"), (True, "scancel failed: .* end it by: scancel 7")])
def test_an_array_whose_commit_is_refused_is_taken_back(
    run_file: str, refusing: Path, tmp_path: Path, down: bool, hint: str
) -> None:
    if down:
        (tmp_path / "down").touch()
    with pytest.raises(LaunchError, match=f"sbatch failed: exit code 1 - {hint}"):
        submit_slurm(Job(verb="preprocess", run=run_file))
    assert refusing.read_text().split("\n")[:-1] == ["sbatch", "sbatch", "scancel 7"]


def test_large_numbers_reach_the_driver_of_ray_whole() -> None:
    launch = LaunchConfig(memory_mb_per_rank=1_048_577, ray_wait_seconds=1_234_567.5)
    entry = render_entrypoint(Job(verb="train", run="x", launch=launch), address="http://127.0.0.1:1")
    assert {"--memory-mb=1048577", "--wait=1234567.5"} <= set(shlex.split(entry))


@pytest.mark.parametrize("written", ["data.manifest=s3://raw/m.parquet", "data={manifest: s3://raw/m.parquet}"])
@pytest.mark.parametrize("kind", ["slurm", "ray"])
def test_training_is_not_told_where_the_raw_clips_are(run_file: str, kind: str, written: str) -> None:
    told = [written, "seed=3"]
    rendered = {verb: submit(kind, verb, run_file, told, dry_run=True).rendered for verb in ("train", "preprocess")}
    assert "s3://raw" not in rendered["train"] and "seed=3" in rendered["train"]
    assert "s3://raw/m.parquet" in rendered["preprocess"]


@pytest.mark.parametrize("kind", ["local", "slurm", "ray"])
def test_a_password_in_an_override_is_not_sent(run_file: str, kind: str) -> None:
    with pytest.raises(LaunchError, match=r"the override of tracking\.uri holds a password") as caught:
        submit(kind, "train", run_file, ["tracking.uri=postgresql://anna:S3cret@db/mlflow"], dry_run=True)
    assert "S3cret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_failed_training_is_told_to_mlflow_by_its_launcher(run_file: str) -> None:
    for kind in ("slurm", "ray"):
        rendered = submit(kind, "train", run_file, ["seed=3"], dry_run=True).rendered
        assert f"-m pipelines.cli tracking failed -c {run_file} seed=3" in rendered
        assert f"-m deemo_dist.launch.progress -c {run_file} seed=3" in rendered


def test_a_distant_ray_job_runs_where_it_is_told_or_where_ray_starts_it(run_file: str, tmp_path: Path) -> None:
    def entry(address: str, **launch: str) -> str:
        return render_entrypoint(Job(verb="train", run=run_file, launch=LaunchConfig(**launch)), address=address)  # type: ignore[arg-type]

    assert entry("http://head.example:8265").startswith("exec python -m ")
    assert entry("http://head.example:8265", workdir="/opt/deemo").startswith("cd /opt/deemo && exec python -m ")
    assert entry("http://127.0.0.1:8265").startswith(f"cd {Path.cwd()} && exec ")
