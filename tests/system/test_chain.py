"""The whole chain by the command line, and what anybody may do with what comes out of it."""

import json
import re
from pathlib import Path

import pytest
import webdataset

from deemo_dist.dataset import open_dataset
from tests.system.conftest import RUBBISH, Project

pytestmark = pytest.mark.system


def test_every_clip_has_one_row_in_the_ledger(project: Project) -> None:
    dataset = open_dataset(project.store, "tiny", "v1")
    assert len(dataset.ledger) == dataset.info.clips == 24 + len(RUBBISH)
    assert len({row.key for row in dataset.ledger}) == len(dataset.ledger)
    rejected = [row for row in dataset.ledger if row.status == "rejected"]
    assert len(rejected) == len(RUBBISH)
    assert {(row.stage, row.reason) for row in rejected} >= {("decode", "empty")}
    assert dataset.info.samples == len(dataset.index) == 24
    said = project.deemo("dataset", "verify", more=[])
    assert "whole: 27 clips = 24 written + 3 rejected = 27 rows" in said


def test_any_webdataset_reader_reads_the_shards(project: Project) -> None:
    store = project.store
    shards = [store.local_path(key) for key in store.list("datasets/tiny/v1/shards/")]
    reader = webdataset.WebDataset([str(path) for path in shards], shardshuffle=False, empty_check=False)
    samples = list(reader)
    assert len(samples) == 24
    assert all({"mp4", "flac", "cues.npy", "json"} <= set(sample) for sample in samples)
    assert all("attestation" in json.loads(sample["json"]) for sample in samples)


def test_a_second_preprocess_does_nothing(project: Project) -> None:
    before = open_dataset(project.store, "tiny", "v1").digest
    said = project.deemo("preprocess")
    assert "nothing to do" in said
    assert open_dataset(project.store, "tiny", "v1").digest == before


def test_another_policy_may_not_enter_a_version(project: Project) -> None:
    said = project.deemo("preprocess", more=["policy.dilate=0.3"], code=1)
    assert "was begun with another policy_digest" in said.splitlines()[-1]


@pytest.mark.parametrize("verb", [("train",), ("evaluate",), ("dataset", "verify")])
def test_a_run_refuses_a_dataset_of_another_policy(project: Project, verb: tuple[str, ...]) -> None:
    said = project.deemo(*verb, more=["policy.dilate=0.3"], code=1)
    assert "another policy ('standard', " in said.splitlines()[-1]
    assert "than the run allows" in said.splitlines()[-1]


def test_the_same_clips_give_the_same_bytes(project: Project, tmp_path: Path) -> None:
    again = Project(tmp_path, f"file://{tmp_path / 'store'}", project.extra)
    again.deemo("preprocess", more=["execution.workers=1"])
    ours, theirs = (open_dataset(each.store, "tiny", "v1").digest for each in (project, again))
    assert ours == theirs


def test_losses_are_numbers_and_every_stage_is_committed(trained: Project) -> None:
    store = trained.store
    for stage in ("align-video", "align-audio", "instruct"):
        (key,) = [key for key in store.list("runs/tiny/") if f"/{stage}-" in key and key.endswith("result.json")]
        result = json.loads(store.get(key))
        assert result["ranks"] == 2
        assert result["zero_stage"] == 3
        assert result["trainable_params"] > 100_000
        assert 0 < result["last_loss"] < 20


def test_a_second_training_skips_done_stages(trained: Project) -> None:
    said = trained.deemo("train")
    assert len(re.findall(r"done before \(\d+ steps\), skipped", said)) == 3


def test_the_export_loads_with_transformers_and_answers(trained: Project) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoProcessor

    import deemo_dist.model  # noqa: F401 - registers the Auto classes
    from deemo_dist.dataset import build_examples, load_example

    (place,) = {key.rsplit("/", 1)[0] for key in trained.store.list("models/tiny/") if key.endswith("/config.json")}
    folder = trained.store.local_path(place)
    model, processor = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    dataset = open_dataset(trained.store, "tiny", "v1")
    example = build_examples(dataset, trained.config().tasks, ["emotion"], "test")[0]
    batch = processor.prompt([load_example(example, trained.store, dataset.prefix, frames=8)])
    with torch.no_grad():
        tokens = model.generate(**batch, max_new_tokens=8, do_sample=False)
    assert tokens.shape[1] > batch["input_ids"].shape[1]


def test_the_model_card_says_what_it_is_made_of_and_how_it_may_be_used(trained: Project) -> None:
    (key,) = [key for key in trained.store.list("models/tiny/") if key.endswith("/README.md")]
    card = trained.store.get(key).decode()
    assert open_dataset(trained.store, "tiny", "v1").digest in card
    for word in ("GDPR 4(5)", "AI Act 5(1)(f)", "standard, strong", "align-audio", "random weights", "deemo predict"):
        assert word in card
    assert "{" not in card.replace("```", "")


def test_the_model_says_the_same_of_a_sample_and_of_its_raw_clip(trained: Project, raw: Path) -> None:
    dataset = open_dataset(trained.store, "tiny", "v1")
    clip = min(raw.glob("*.mp4"), key=lambda path: (path.name in RUBBISH, path.name))
    of_clip = json.loads(trained.deemo("predict", "--clip", str(clip), "--json").splitlines()[-1])
    of_sample = json.loads(trained.deemo("predict", of_clip["key"][:8], "--json").splitlines()[-1])
    assert of_clip["key"] == of_sample["key"] and of_clip["key"] in dataset.index.column("key").to_pylist()
    assert sum(of_sample["probabilities"].values()) == pytest.approx(1.0)
    assert set(of_sample["probabilities"]) == set(trained.config().tasks["emotion"].choices)
    assert of_sample["answer"] == max(of_sample["probabilities"], key=of_sample["probabilities"].get)
    assert of_sample["shown"][:3] == of_clip["shown"][:3] == ["video", "audio", "cues"]


def test_a_clip_that_cannot_be_looked_at_safely_is_not_looked_at(trained: Project, raw: Path) -> None:
    said = trained.deemo("predict", "--clip", str(raw / "Private Note.mp4"), code=1).splitlines()[-1]
    assert "was rejected by decode" in said and "Private" not in said
    assert "names no samples of dataset tiny/v1" in trained.deemo("predict", "0000000000", code=1)


def test_evaluation_reports_and_names_leak_nowhere(trained: Project, raw: Path) -> None:
    said = trained.deemo("evaluate")
    report = Path(next(word for word in said.split() if word.endswith("report.html")))
    page = report.read_text()
    assert "residual" in page
    assert "<video" in page
    assert "done before" in trained.deemo("evaluate")
    _no_trace_of_names(trained, raw, report)


def _no_trace_of_names(trained: Project, raw: Path, report: Path) -> None:
    """Grep every byte that the chain left for planted names and file names; manifests alone may hold them."""
    planted = json.loads((raw / "samples.json").read_text())["planted"]
    files = [path.stem for path in raw.glob("*.mp4")]
    people = {name for names in planted.values() for name in names if " " in name}
    needles = [needle.encode().lower() for needle in {*people, *files}]
    assert len(needles) > 20
    places = [trained.folder, Path("/dev/shm")]
    seen = 0
    for path in (path for place in places for path in place.rglob("*") if path.is_file()):
        if "/manifests/" in str(path):
            continue
        data = path.read_bytes().lower()
        seen += 1
        found = [needle for needle in needles if needle in data]
        assert not found, f"{path} holds {found[0]!r}"
    assert seen > 30
    assert report.is_file()
