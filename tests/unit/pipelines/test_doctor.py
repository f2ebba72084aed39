"""The doctor: a run that would work, and each check failing for what it is there for."""

import dataclasses
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from deemo_dist.config import RunConfig, TrainRule
from deemo_dist.dataset import write_manifest
from deemo_dist.errors import DeemoError, StorageError, TrainingError, WeightsError
from deemo_dist.planning.train.memory import Parameter, Zero, memory
from deemo_dist.storage import open_store
from deemo_dist.storage.local import LocalStore
from pipelines import checks, room
from pipelines.checks import InPart, Known
from pipelines.doctor import Finding, _made, examine, preflight
from tests import parts
from tests.ready import prepared_in, run_in


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_in(tmp_path_factory.mktemp("doctor"))


def known_of(config: RunConfig, *made: str, world: int = 2) -> Known:
    """What is known after these checks."""
    known = Known(config=config, world=world, seconds=3.0)
    for name in made:
        getattr(checks, name)(known)
    return known


def failing(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.line() for finding in findings if finding.state == "fails"}


@pytest.mark.slow
def test_a_run_that_would_work_passes_every_check(folder: Path) -> None:
    findings = examine(run_in(folder), seconds=30.0)
    assert not failing(findings)
    lines = {finding.check: finding.line() for finding in findings}
    assert all(finding.state == "ok" for finding in findings) and len(findings) == len(checks.CHECKS)
    assert "12 samples" in lines["dataset"] and "2 ranks, ZeRO-3" in lines["engine"]
    assert "kinds of pack" in lines["modules"] and "2 ranks together" in lines["memory"]
    preflight(known_of(run_in(folder), "storage", "dataset", "budgets"))


def test_versions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = Known(config=run_in(tmp_path), world=1)
    assert "torch 2." in checks.versions(known)
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.27.0" if name == "mlflow" else real(name))
    with pytest.raises(DeemoError, match=r"mlflow is 1\.27\.0, the project needs ==3"):
        checks.versions(known)


def test_storage(tmp_path: Path) -> None:
    config = run_in(tmp_path)
    known = Known(config=config, world=1)
    assert "written, read and deleted" in checks.storage(known)
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    (tmp_path / "taken").write_text("a file")
    beneath = replace(config.storage, root=f"file://{tmp_path}/taken/store")
    with pytest.raises(DeemoError):
        checks.storage(Known(config=replace(config, storage=beneath), world=1))


def test_a_store_that_puts_twice_what_is_put_once_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a server that ignores If-None-Match."""
    monkeypatch.setattr(LocalStore, "put_new", LocalStore.put)
    with pytest.raises(StorageError, match=r"takes a second object .* ignores If-None-Match - .*receipts"):
        checks.storage(Known(config=run_in(tmp_path), world=1))
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


def test_tracking(tmp_path: Path) -> None:
    config = run_in(tmp_path)
    nowhere = replace(config.tracking, uri="http://127.0.0.1:1")
    with pytest.raises(DeemoError, match="no MLflow server answers"):
        checks.tracking(Known(config=replace(config, tracking=nowhere), world=1))
    off = replace(config.tracking, enabled=False)
    assert checks.tracking(Known(config=replace(config, tracking=off), world=1)) == "off"


def test_room_for_the_raw_clips_of_every_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = run_in(tmp_path)
    assert "nothing is preprocessed" in checks.raw(Known(config=config, world=1))
    store = open_store(config.storage)
    clips = [replace(clip, size_bytes=40_000_000 + number) for number, clip in enumerate(parts.clips(3))]
    manifest = store.uri(write_manifest(clips, store)[0])
    where = replace(config.execution, executor="local", workers=2, raw_folder=str(tmp_path))
    config = replace(config, data=replace(config.data, manifest=manifest), execution=where)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(total=64 * 10**6, free=64 * 10**6))
    with pytest.raises(DeemoError, match=r"at each of 2 workers needs 81 MB in .* 64 MB of 64 are free.*--shm-size"):
        checks.raw(Known(config=config, world=1))
    alone = replace(config, execution=replace(where, workers=1))
    assert "1 workers' largest clips fit" in checks.raw(Known(config=alone, world=1))
    elsewhere = replace(config, execution=replace(where, executor="ray", address="auto"))
    assert "not looked at" in checks.raw(Known(config=elsewhere, world=1))
    gone = replace(config, data=replace(config.data, manifest=f"{manifest}.gone"))
    assert "cannot be read" in checks.raw(Known(config=gone, world=1))


def test_weights(tmp_path: Path) -> None:
    config = run_in(tmp_path)
    assert "random" in checks.weights(Known(config=config, world=1))
    for source, told in (("/no/such/folder", "no weights at"), ("weights:no-such-thing", "no-such-thing")):
        llm = replace(config.model.llm, source=source)
        with pytest.raises(DeemoError, match=told):
            checks.weights(Known(config=replace(config, model=replace(config.model, llm=llm)), world=1))


def test_weights_of_another_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror that has other bytes under the name."""
    from deemo_dist.weights import registry

    weight = registry()["blazeface-short"]
    mirror, cache = tmp_path / "mirror", tmp_path / "weights"
    mirror.mkdir()
    for name in {weight.filename, "blazeface-short", Path(weight.origin).name}:
        (mirror / name).write_bytes(b"other bytes")
    config = run_in(tmp_path)
    llm = replace(config.model.llm, source="weights:blazeface-short")
    settings = replace(config.weights, mirror=str(mirror), cache=str(cache))
    with pytest.raises(WeightsError, match=r"has SHA-256 .*, pinned is"):
        checks.weights(Known(config=replace(config, model=replace(config.model, llm=llm), weights=settings), world=1))


@pytest.mark.parametrize(
    ("engine", "rules", "told"),
    [
        ({}, {"*ear*": TrainRule()}, "matches no parameter"),
        ({}, {"*projector*": TrainRule(mode="frozen")}, "nothing would train"),
        ({"offload": "nvme"}, {"*": TrainRule()}, "nvme"),
        ({"offload": "nvme", "nvme_path": "/nowhere"}, {"*": TrainRule()}, "/nowhere is no folder of this machine"),
        ({"zero_stage": 0}, {"*": TrainRule()}, "zero_stage 0"),
    ],
)
def test_engine(tmp_path: Path, engine: dict, rules: dict, told: str) -> None:
    config = run_in(tmp_path, **engine)
    stages = {"instruct": replace(config.stages["instruct"], trains=rules)}
    with pytest.raises(DeemoError, match=told):
        checks.engine(Known(config=replace(config, stages=stages), world=2))


def test_a_disk_without_room_for_the_optimizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shutil import disk_usage

    config = run_in(tmp_path, offload="nvme", nvme_path=str(tmp_path))
    assert checks.engine(Known(config=config, world=2))
    usage = disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(TrainingError, match=r"0\.00 GiB free, swapping needs 0\.\d\d - free some"):
        checks.engine(Known(config=config, world=2))
    assert checks.engine(Known(config=config, world=2, gpu="h100"))  # of another machine


def test_dataset(folder: Path) -> None:
    config = run_in(folder)
    missing = replace(config, data=replace(config.data, name="missing"))
    with pytest.raises(DeemoError, match="missing/v1"):
        known_of(missing, "storage", "dataset")
    other = replace(config, policy=replace(config.policy, dilate=0.5))
    with pytest.raises(DeemoError, match="another policy"):
        known_of(other, "storage", "dataset")


def test_budgets(folder: Path) -> None:
    config = run_in(folder)
    small = {"instruct": replace(config.stages["instruct"], max_tokens=20)}
    with pytest.raises(DeemoError, match="20"):
        known_of(replace(config, stages=small), "storage", "dataset", "budgets")
    with pytest.raises(DeemoError, match="8 ranks cannot share 2 packs"):
        known_of(config, "storage", "dataset", "budgets", world=8)


@pytest.mark.parametrize(("choices", "told"), [(("", "negative"), "cannot spell"), (("yes", "yes"), "same tokens")])
def test_answers(folder: Path, choices: tuple[str, ...], told: str) -> None:
    config = run_in(folder)
    known = known_of(config, "storage", "dataset", "budgets")
    assert "positive, negative" in checks.answers(known)
    tasks = {**config.tasks, "emotion": replace(config.tasks["emotion"], choices=choices)}
    known.config = replace(config, tasks=tasks)
    with pytest.raises(DeemoError, match=told):
        checks.answers(known)


def test_samples(folder: Path, tmp_path: Path) -> None:
    """A byte of a shard is not what it was."""
    import shutil

    shutil.copytree(folder / "store", tmp_path / "store")
    shard = next((tmp_path / "store").rglob("*.tar"))
    data = bytearray(shard.read_bytes())
    for place in range(600, len(data), 1000):
        data[place] ^= 255
    shard.write_bytes(data)
    known = known_of(run_in(tmp_path), "storage", "dataset", "budgets")
    with pytest.raises(DeemoError, match=r"digest|bytes"):
        checks.samples(known)


def test_a_short_last_step_is_looked_at_whole(folder: Path) -> None:
    """The null packs that fill it up hold no sample."""
    config = run_in(folder)
    stage = replace(config.stages["instruct"], packs_per_step=5, modality_dropout=0.0)
    known = known_of(replace(config, stages={"instruct": stage}), "storage", "dataset", "budgets")
    (planned,) = known.stages
    packs = sum(len(planned.plan.step(step)) for step in range(planned.plan.steps))
    assert packs % 5
    known.steps, known.seconds = planned.plan.steps, 60.0
    found = checks.samples(known)
    assert (
        found
        == f"instruct: 12 samples in {packs} of {packs} packs read by their digests, {packs} of {packs} packs decoded"
    )


def test_samples_that_there_is_no_time_to_decode_are_read_and_told_apart(folder: Path, tmp_path: Path) -> None:
    """A byte of a film in the last pack of the first step is not what it was; the first pack alone is decoded."""
    import shutil

    shutil.copytree(folder / "store", tmp_path / "store")
    config = run_in(tmp_path)
    stages = {"instruct": replace(config.stages["instruct"], modality_dropout=0.0)}
    known = known_of(replace(config, stages=stages), "storage", "dataset", "budgets")
    known.steps, known.seconds = 1, 0.0
    found = checks.samples(known)
    assert isinstance(found, InPart) and re.fullmatch(
        r"instruct: \d+ samples in 2 of 2 packs read by their digests, 1 of 2 packs decoded", found.found
    )
    assert _made(checks.samples, known).line().startswith("in part       samples")

    (stage,) = known.stages
    first, last = (set(stage.plan.slice(0, rank, 2)[0] or ()) for rank in (0, 1))
    sample = stage.examples[min(last - first)].sample
    member = next(each for each in sample.members if each.extension == "mp4")
    shard = next(path for path in (tmp_path / "store").rglob("*.tar") if path.name.startswith(sample.shard[:5]))
    data = bytearray(shard.read_bytes())
    data[member.offset + member.size // 2] ^= 255
    shard.write_bytes(data)
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    finding = _made(checks.samples, known)
    assert finding.state == "fails" and "digest" in finding.found and sample.key in finding.found
    known.read_seconds = 0.0
    assert "0 samples in 0 of 2 packs read" in _made(checks.samples, known).found


@pytest.mark.slow
def test_modules(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that leaves the audio tower out where a pack has no sound: what hangs ZeRO-3."""
    from deemo_dist.model import DeemoLlamaForConditionalGeneration as Model

    whole = Model.audio_embeddings

    def lazy(self, features, starts):
        if len(features) > 1:
            return whole(self, features, starts)
        shape = self.config.projector_shape("audio").tokens, self.config.text_config.hidden_size
        return torch.zeros(*shape, device=features.device)

    monkeypatch.setattr(Model, "audio_embeddings", lazy)
    known = known_of(run_in(folder), "storage", "dataset", "budgets", "engine", "samples")
    with pytest.raises(DeemoError, match=r"would hang: call \d+ is .*audio_tower"):
        checks.modules(known)


@pytest.mark.slow
def test_modules_that_depend_on_values(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deemo_dist.model import DeemoLlamaForConditionalGeneration as Model

    whole = Model.audio_embeddings

    def curious(self, features, starts):
        return whole(self, features, starts) if features.abs().sum() > 0 else whole(self, features * 2, starts)

    monkeypatch.setattr(Model, "audio_embeddings", curious)
    known = known_of(run_in(folder), "storage", "dataset", "budgets", "engine", "samples")
    with pytest.raises(DeemoError, match="depends on a tensor's value"):
        checks.modules(known)


@pytest.mark.slow
def test_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = known_of(run_in(folder), "storage", "dataset", "budgets", "engine")
    assert "of this machine" in checks.memory(known)
    known.gpu = "h100"
    told = checks.memory(known)
    assert "on each h100" in told and "2048.00 GiB of the memory of a usual node of h100, 2 ranks together" in told
    known.gpu = None
    monkeypatch.setattr(room, "memory_available", lambda: 10**8)
    with pytest.raises(DeemoError, match=r"needs .* GiB of this machine, 2 ranks together, 0\.09 are there"):
        checks.memory(known)


@pytest.mark.parametrize(("gpu", "where"), [(None, "of this machine"), ("h100", "of the memory of a node, by launch")])
def test_memory_that_is_enough_but_for_the_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: str | None, where: str
) -> None:
    """A billion trained parameters on 8 ranks, 12 bytes each: of this machine, or of a GPU's node."""
    zero = Zero(stage=3, bytes=2, gradient_bytes=4)
    plan = memory([Parameter(elements=10**7, trains=True)] * 100, zero, ranks=8)
    config = run_in(tmp_path, ranks=8)

    def within(megabytes: int) -> str:
        monkeypatch.setattr(room, "_libraries", lambda: 0)
        monkeypatch.setattr(room, "memory_available", lambda: 8 * megabytes * 2**20)
        asked = replace(config, launch=replace(config.launch, memory_mb_per_rank=megabytes))
        return room.within(room.here(asked, 8, gpu).limits[-1], {"instruct": plan})

    enough = (plan.on_host if gpu else plan.on_cpu) / 2**20
    assert where in within(int(enough) + 1)
    told = (
        rf"stage instruct with its checkpoint's snapshot needs .* GiB {where}.* without .*engine\.offload=nvme .*nodes"
    )
    with pytest.raises(TrainingError, match=told):
        within(int(enough) - 1000)
    with pytest.raises(TrainingError, match=r"stage instruct needs .* are there"):
        room.within(room.here(config, 8, gpu).limits[0], {"instruct": replace(plan, optimizer=1e15)})


def test_memory_that_is_too_small_for_the_export(tmp_path: Path) -> None:
    config = run_in(tmp_path)
    config = replace(config, launch=replace(config.launch, memory_mb_per_rank=8192))
    place = room.here(config, 8, "h100")
    assert room.check_export(place, 2**30) == "export 1.00"
    told = r"export needs 64\.00 GiB on the first rank's machine, \d+\.\d+ are there .* - a machine with more memory"
    with pytest.raises(TrainingError, match=told):
        room.check_export(place, 2**36)


def test_what_a_failed_check_hides_is_not_looked_at(folder: Path) -> None:
    config = run_in(folder)
    gone = replace(config, data=replace(config.data, name="missing"), tracking=replace(config.tracking, enabled=False))
    findings = {finding.check: finding for finding in examine(gone)}
    assert findings["dataset"].state == "fails" and findings["budgets"].state == "not looked at"
    assert findings["memory"].found == "needs budgets"


def test_training_does_not_start_where_a_check_fails(folder: Path) -> None:
    config = run_in(folder)
    known = known_of(config, "storage", "dataset", "budgets")
    known.config = replace(config, engine=replace(config.engine, offload="nvme"))
    with pytest.raises(TrainingError, match=r"the check 'engine' fails: .*deemo doctor -c RUN"):
        preflight(known)


def test_more_ranks_than_packs_of_a_later_stage_are_refused_before_the_first_step(folder: Path) -> None:
    from deemo_dist.environ import Placement
    from deemo_dist.training.ranks import Ranks
    from pipelines.train import ALL, _train_chain

    class First(Ranks):
        """The first of two, whose collectives the other one never meets."""

        def sums(self, values: Sequence[float]) -> list[float]:
            return list(values)

        def from_first(self, value: Any) -> Any:
            return value

    config = run_in(folder)
    name, stage = next(iter(config.stages.items()))
    stages = {name: stage, "later": replace(stage, packs_per_step=1)}
    config = replace(config, stages=stages, engine=replace(config.engine, preflight=False))
    place = Placement(rank=0, world=2, local_rank=0, launcher="torchrun", master_addr="127.0.0.1", master_port=0)
    with pytest.raises(DeemoError, match=r"stage later: 2 ranks cannot share 1 packs a step"):
        _train_chain(config, First(place, torch.device("cpu")), ALL)
    assert not list((folder / "store").glob("runs/*/attempts/*"))
    with pytest.raises(DeemoError, match="stage later: 2 ranks"):
        known_of(config, "storage", "dataset", "budgets")


def test_the_command_line_says_a_line_a_check_and_exits_with_1(folder: Path, capsys: pytest.CaptureFixture) -> None:
    from typer.testing import CliRunner

    from pipelines.cli import app

    words = [f"storage.root=file://{folder}/store", f"storage.cache={folder}/cache", "data.name=missing"]
    result = CliRunner().invoke(app, ["doctor", "--run", "demo", *words, "tracking.enabled=false"])
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert len(lines) == len(checks.CHECKS) and lines[0].startswith("ok            versions")
    assert any(line.startswith("fails         dataset") and "deemo preprocess" in line for line in lines)


def test_every_finding_is_a_dataclass_of_plain_data() -> None:
    finding = Finding(check="memory", state="fails", found="too little", seconds=0.1, hint="buy some")
    assert dataclasses.asdict(finding)["hint"] == "buy some" and finding.line().endswith("too little - buy some")
