"""What an evaluation depends on, and where one that was done is found again."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deemo_dist.config import EvaluationConfig, RunConfig, load
from deemo_dist.dataset import Dataset
from deemo_dist.digests import canonical_json
from deemo_dist.storage import open_store
from pipelines import evaluate
from pipelines.datasets import open_allowed
from pipelines.evaluate import EvaluationResult, done_before, evaluation_key
from pipelines.exam import asked_of, explained
from tests.made import clips_of, make


@pytest.fixture
def run(config: RunConfig) -> RunConfig:
    """A run over nine made clips of three people, one of whom is held out."""
    evaluation = EvaluationConfig(task="emotion", explain_task="explain")
    return replace(config, tasks=load("demo", []).tasks, evaluation=evaluation)


def opened(config: RunConfig) -> Dataset:
    return open_allowed(config, open_store(config.storage))


def key_of(config: RunConfig, place: str = "models/a") -> str:
    dataset = opened(config)
    return evaluation_key(config, place, dataset, asked_of(config, dataset))


def test_another_dataset_task_or_seed_is_another_evaluation(run: RunConfig, tmp_path: Path) -> None:
    make(run, clips_of())
    keys = [key_of(run), key_of(run, "models/b"), key_of(replace(run, seed=run.seed + 1))]
    for task, changes in (("emotion", {"prompt": "What now?\n{transcript}"}), ("explain", {"prompt": "Why, then?"})):
        tasks = {**run.tasks, task: replace(run.tasks[task], **changes)}
        keys.append(key_of(replace(run, tasks=tasks)))
    keys.append(key_of(replace(run, evaluation=replace(run.evaluation, preview_clips=0))))
    other = replace(run, data=replace(run.data, version="v2"))
    make(other, clips_of(12))
    keys.append(key_of(other))
    assert len(set(keys)) == len(keys)
    assert key_of(run) == keys[0]


@pytest.mark.parametrize("count", [1, 3, 4, 40])
def test_explanations_are_spread_over_the_labels(count: int) -> None:
    """Twenty clips of which two are glad, and one has no label."""
    examples: list[Any] = [SimpleNamespace(key=f"{number:02}") for number in range(20)]
    truths = {f"{number:02}": "glad" if number in (13, 17) else "sad" for number in range(19)}
    shown = [truths[example.key] for example in explained(examples, truths, count)]
    assert len(shown) == min(count, 19)
    assert shown[:4] == ["glad", "sad", "glad", "sad"][: len(shown)]
    assert explained(examples, {}, count) == examples[:count]


def test_an_evaluation_done_on_another_machine_is_not_done_again(config: RunConfig, tmp_path: Path) -> None:
    store, prefix = open_store(config.storage), "runs/run/evaluation-1"
    there = EvaluationResult(
        accuracy=0.5,
        weighted_f1=0.5,
        macro_f1=0.5,
        chance=0.5,
        ablation={"video": 0.5},
        residual_face_rate=0.0,
        parse_failures=None,
        report=str(tmp_path / "elsewhere/report.html"),
        mlflow={},
    )
    assert done_before(config, store, prefix) is None
    store.put(f"{prefix}/result.json", canonical_json(there))
    assert done_before(config, store, prefix) is None  # without its report it is made again
    store.put(f"{prefix}/report.html", b"<html>")
    here = done_before(config, store, prefix)
    assert here is not None and Path(here.report).read_bytes() == b"<html>"
    assert Path(here.report).is_relative_to(config.storage.cache)
    assert replace(here, report=there.report) == there
    Path(here.report).write_bytes(b"<html>seen")
    store.put(f"{prefix}/result.json", canonical_json(here))
    assert done_before(config, store, prefix) == here and Path(here.report).read_bytes() == b"<html>seen"


def test_a_report_that_fails_is_told_of_no_training_run(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs of the stages, which are done, were ended as failed with it."""
    opened_runs: list[RunConfig] = []
    monkeypatch.setattr(evaluate, "open_tracker", lambda config, store: opened_runs.append(config))
    monkeypatch.setattr(evaluate, "_report_data", lambda *_: None)

    def full(data: object, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evaluate, "write_report", full)
    exam: Any = SimpleNamespace(recognition=lambda: None, explanations=lambda _: ())
    dataset: Any = None
    with pytest.raises(OSError, match="No space left"):
        evaluate._evaluate(config, open_store(config.storage), dataset, (), exam, "runs/run/evaluation-1")
    assert opened_runs == []
