"""What is said of samples by a stored model over true media; answers of no sense."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from deemo_dist.config import EvaluationConfig, RunConfig, TaskConfig
from deemo_dist.errors import ConfigError, ModelError
from pipelines import predict
from pipelines.judge import Judge
from pipelines.predict import predict_samples
from tests.made import clips_of, make

TASKS = {
    "emotion": TaskConfig(
        prompt="What?", answer="{label.emotion}", choices=("positive", "negative"), modalities=("video",)
    ),
    "explain": TaskConfig(prompt="Why?", answer="{text.reasoning}", modalities=("audio",)),
    "read": TaskConfig(prompt="Why?\n{transcript}", answer="{text.reasoning}", modalities=("text",)),
}


@pytest.fixture
def run(config: RunConfig) -> RunConfig:
    evaluation = EvaluationConfig(explain_task="explain", max_new_tokens=4)
    return replace(config, tasks=TASKS, evaluation=evaluation)


@pytest.fixture
def judge(run: RunConfig, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """In the place of the run's own model."""
    found = Judge(folder, run)
    monkeypatch.setattr(predict, "_judge", lambda *_: found)
    return found


def first_key(run: RunConfig, **said: Any) -> str:
    made = make(run, [replace(clip, **said) for clip in clips_of()])
    assert made is not None
    return str(predict.open_allowed(run, predict.open_store(run.storage)).index[0].key)


def test_a_sample_is_explained_over_the_media_that_the_explaining_task_shows(run: RunConfig, judge: Judge) -> None:
    (said,) = predict_samples([first_key(run)], run)
    assert said.shown == ("video",)
    assert sum(said.probabilities.values()) == pytest.approx(1)
    assert said.answer in ("positive", "negative")


def test_a_sample_with_nothing_that_the_explaining_task_shows_is_recognised_all_the_same(
    run: RunConfig, judge: Judge
) -> None:
    reading = replace(run, evaluation=replace(run.evaluation, explain_task="read"))
    (said,) = predict_samples([first_key(reading, transcript=None)], reading)
    assert said.explanation == "" and said.probabilities


@pytest.mark.parametrize("wrong", [{"task": "emotoin"}, {"explain_task": "explian"}])
def test_a_task_that_the_run_has_not_is_refused_before_a_model_is_loaded(
    run: RunConfig, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]
) -> None:
    monkeypatch.setattr(predict, "_judge", lambda *_: pytest.fail("loaded"))
    mistyped = replace(run, evaluation=replace(run.evaluation, **wrong))
    with pytest.raises(ConfigError, match=next(iter(wrong.values()))):
        list(predict_samples([first_key(run)], mistyped))


def test_a_model_that_diverged_says_nothing(run: RunConfig, judge: Judge) -> None:
    with torch.no_grad():
        judge.model.get_output_embeddings().weight.fill_(torch.nan)
    with pytest.raises(ModelError, match="not finite"):
        list(predict_samples([first_key(run)], run))
