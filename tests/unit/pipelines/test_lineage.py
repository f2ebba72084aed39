"""What a run's stages stand on, by whole small trainings in a process of their own."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from deemo_dist.config import (
    CONFIGS,
    ModelConfig,
    RunConfig,
    StageConfig,
    TaskConfig,
    TowerConfig,
    TrainRule,
    build,
    to_yaml,
)
from deemo_dist.digests import canonical_json, sha256_bytes
from deemo_dist.errors import ModelError, TrainingError
from deemo_dist.model import build_model
from deemo_dist.model.identity import base_digests
from deemo_dist.storage import Store, open_store
from deemo_dist.training import state_digest
from deemo_dist.training.checkpoint.layout import (
    CONTENT,
    Commit,
    commit_from_json,
    content_of,
    receipt_from_json,
    to_json,
)
from pipelines import cli
from pipelines.curves import read_curve
from pipelines.train import run_export
from tests.made import clips_of, config_of, make
from tests.unit.training.forks import fork_server

pytestmark = pytest.mark.slow
Life = Callable[[RunConfig], str]


@pytest.fixture
def life(tmp_path: Path) -> Life:
    """One life of a training by the command line, as a lone rank or with its ranks; what it said."""

    def live(config: RunConfig) -> str:
        (tmp_path / "run.yaml").write_text(to_yaml(config))
        alone = ["--worker"] if config.engine.ranks == 1 else []
        command = [cli.__file__, "train", "-c", str(tmp_path / "run.yaml"), *alone]
        server = fork_server()
        server.wait(server.fork(command, dict(os.environ), tmp_path / "output"), 120)
        return (tmp_path / "output").read_text()

    return live


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunConfig]:
    """Two stages over a language model out of a folder, on a made dataset."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEMO_ROOT_KEY", os.urandom(32).hex())
        patch.setenv("DEEMO_CACHE", str(folder / "cache"))
        patch.setenv("DS_ACCELERATOR", "cpu")
        patch.setenv("OMP_NUM_THREADS", "1")
        nano = yaml.safe_load((CONFIGS / "models/nano.yaml").read_text())["model"]
        model = build(ModelConfig, nano, where="nano.yaml")
        build_model(model, seed=3).language_model.save_pretrained(folder / "llm")
        config = config_of(folder)
        rules = {"*video_projector*": TrainRule(lr=1e-3)}
        stage = StageConfig(tasks=("emotion",), trains=rules, packs_per_step=1, epochs=3)
        ask = TaskConfig(prompt="Which?", answer="{label.emotion}", choices=("positive",), modalities=("video",))
        make(config, clips_of())
        yield replace(
            config,
            model=replace(model, llm=TowerConfig(source=str(folder / "llm"))),
            tasks={"emotion": ask},
            stages={"align": stage, "tune": stage},
            engine=replace(config.engine, preflight=False, ranks=1, threads=1, checkpoint_every=1),
        )


@pytest.fixture
def weights(run: RunConfig) -> Iterator[Path]:
    """The language model's file, put back afterwards."""
    path = Path(run.model.llm.source) / "model.safetensors"
    before = path.read_bytes()
    yield path
    path.write_bytes(before)


def change_a_byte(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_a_stage_neither_resumes_nor_is_exported_over_a_base_that_has_changed(
    run: RunConfig, weights: Path, life: Life
) -> None:
    assert "model: file://" in life(run)
    store = open_store(run.storage)
    (final,) = [key for key in store.list("runs/run/") if "/tune-" in key and key.endswith("/00000003-0001.json")]
    (model,) = [key for key in store.list("models/") if key.endswith("/config.json")]
    known = json.loads(store.get(final))["extra"]["base"]
    assert known == json.loads(store.get(model))["digests"] == base_digests(run.model, run.seed)
    for key in (final, model):
        store.delete(key)
    data = weights.read_bytes()
    change_a_byte(weights)
    said = life(run)
    assert "the checkpoint of stage align at step 3 was made over other llm weights than" in said, said
    assert f"({known['llm'][:12]} then, " in said and "put the earlier weights back" in said
    with pytest.raises(ModelError, match="the checkpoint of stage align at step 3 was made over other llm weights"):
        run_export(run, "align", adapters=False)
    weights.write_bytes(data)
    said = life(run)
    assert "tune: resumed at step 2" in said and "model: file://" in said, said
    assert run_export(run, "align", adapters=False)


def test_checkpoints_of_before_digests_were_kept_are_resumed(run: RunConfig, weights: Path, life: Life) -> None:
    old = replace(run, name="old")
    life(old)
    store = open_store(run.storage)
    for key in store.list("runs/old/"):
        if "/commits/" in key:
            commit = json.loads(store.get(key))
            store.put(key, canonical_json({**commit, "extra": without(commit["extra"], "base")}))
    (final,) = [key for key in store.list("runs/old/") if "/tune-" in key and key.endswith("/00000003-0001.json")]
    store.delete(final)
    change_a_byte(weights)
    assert "tune: resumed at step 2" in life(old)


def without(extra: dict[str, object], *names: str) -> dict[str, object]:
    return {name: value for name, value in extra.items() if name not in names}


def final_of(store: Store, prefix: str) -> tuple[str, Commit]:
    """Key and record of the newest commit under a run's prefix and stage."""
    key = max(key for key in store.list(prefix.rsplit("/", 1)[0]) if key.startswith(prefix) and "/commits/" in key)
    return key, commit_from_json(store.get(key), key)


def spoil(store: Store, commit: Commit) -> None:
    """The last file of a checkpoint, harmed."""
    part = receipt_from_json(store.get(commit.receipts[0].key), "").parts[-1]
    store.put(part.key, store.get(part.key)[:-1] + b"?")


def train_otherwise(store: Store, prefix: str) -> None:
    """Leave a final checkpoint as a training with other bits would: one number is another."""
    key, commit = final_of(store, prefix)
    receipt = receipt_from_json(store.get(commit.receipts[0].key), "")
    data = bytearray(store.get(receipt.parts[-1].key))
    data[-3] = (data[-3] + 1) % 256
    store.put(receipt.parts[-1].key, bytes(data))
    changed = replace(receipt.parts[-1], sha256=sha256_bytes(data))
    receipt = replace(receipt, parts=(*receipt.parts[:-1], changed))
    store.put(commit.receipts[0].key, to_json(receipt))
    refs = (replace(commit.receipts[0], sha256=sha256_bytes(to_json(receipt))),)
    store.put(key, to_json(replace(commit, receipts=refs, extra={**commit.extra, CONTENT: content_of([receipt])})))


def test_a_stage_over_another_checkpoint_of_its_parent_is_trained_again(run: RunConfig, life: Life) -> None:
    both = replace(run, name="both")
    assert "model: file://" in life(both)
    store = open_store(run.storage)
    _, align = final_of(store, "runs/both/align-")
    _, tune = final_of(store, "runs/both/tune-")
    assert tune.extra["parents"] == [state_digest(align)] and align.extra["parents"] == []
    (made,) = [key for key in store.list("models/both") if key.endswith("/made.json")]
    first = store.get(made)
    attempts = store.list("runs/both/attempts/")
    life(both)
    assert store.list("runs/both/attempts/") == attempts, "a run with nothing to do fences nobody"

    folder = final_of(store, "runs/both/tune-")[0].split("/commits/")[0]
    store.put(f"{folder}/curve/0001-00009000.json", b'{"rows": [{"step": 9000, "loss": 9.0}]}')
    train_otherwise(store, "runs/both/align-")
    with pytest.raises(TrainingError, match="builds on tune, which was trained over another checkpoint of align"):
        run_export(both, None, adapters=False)
    said = life(both)
    assert "align: done before" in said and "model: file://" in said, said
    assert "tune: trained again from the start, align has another final checkpoint now" in said
    second = store.get(made)
    assert second != first
    assert read_curve(store, folder)[-1]["step"] < 9000

    train_otherwise(store, "runs/both/align-")
    store.delete(final_of(store, "runs/both/tune-")[0])
    said = life(both)
    assert "tune: trained again from the start" in said and "resumed" not in said, said
    assert store.get(made) not in (first, second)


def test_a_parent_that_is_trained_again_to_the_same_bits_leaves_its_child_done(run: RunConfig, life: Life) -> None:
    same = replace(run, name="same", stages={**run.stages, "last": run.stages["tune"]})
    store = open_store(run.storage)
    life(replace(same, stages=run.stages))
    before = final_of(store, "runs/same/tune-")
    spoil(store, final_of(store, "runs/same/align-")[1])
    said = life(same)
    assert "is not done as it says, it is trained again" in said and "align: resumed at step 2" in said, said
    assert "tune: done before" in said and "last: done, loss" in said
    assert final_of(store, "runs/same/tune-") == before


@pytest.mark.parametrize("cut", [False, True])
def test_ranks_agree_on_their_base(run: RunConfig, weights: Path, life: Life, cut: bool) -> None:
    """Each reads the weights itself, or the first for all; the second stage takes over what the first trained."""
    engine = replace(run.engine, ranks=2, partition_at_build=cut)
    stages = {name: replace(stage, packs_per_step=2, epochs=2) for name, stage in run.stages.items()}
    two = replace(run, name=f"two-{cut}".lower(), engine=engine, stages=stages)
    said = life(two)
    assert "model: file://" in said, said
    store = open_store(run.storage)
    align, tune = (final_of(store, f"runs/{two.name}/{stage}-")[1] for stage in ("align", "tune"))
    assert align.world == 2 and tune.extra["parents"] == [state_digest(align)]
    assert align.extra["base"] == tune.extra["base"] == base_digests(two.model, two.seed)
    (model,) = [key for key in store.list(f"models/{two.name}/") if key.endswith("/config.json")]
    store.delete(model)
    change_a_byte(weights)
    said = life(two)
    assert "the checkpoint of stage align at step" in said, said
    assert "was made over other llm weights" in said
