"""What a stored model makes of a dataset's samples: true media, a true processor, answers of no sense."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from deemo_dist.config import EvaluationConfig, RunConfig, TaskConfig
from deemo_dist.records import LoadedExample
from deemo_dist.storage import open_store
from pipelines import exam
from pipelines.datasets import open_allowed
from pipelines.exam import Exam, asked_of
from tests.made import clips_of, make

TASKS = {
    "emotion": TaskConfig(
        prompt="What?", answer="{label.emotion}", choices=("positive", "negative"), modalities=("video",)
    ),
    "explain": TaskConfig(prompt="Why?", answer="{text.reasoning}", modalities=("audio",)),
}


@pytest.fixture
def run(config: RunConfig) -> RunConfig:
    """Of two tasks that show different media."""
    evaluation = EvaluationConfig(explain_task="explain", explanations=5, bootstrap=10, max_new_tokens=4)
    return replace(config, tasks=TASKS, evaluation=evaluation)


def opened(run: RunConfig, folder: Path, texts: dict[str, str]) -> Exam:
    """Over fifteen made clips, of which the five that are held out have ``texts``."""
    make(run, [replace(clip, texts=texts if clip.split == "test" else {}) for clip in clips_of(15)])
    store = open_store(run.storage)
    dataset = open_allowed(run, store)
    return Exam(run, store, dataset, asked_of(run, dataset), folder)


def test_where_no_sample_has_a_text_none_is_explained_and_the_figures_stay(
    run: RunConfig, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = opened(run, folder, texts={})
    figures = found.recognition()
    assert len(figures.predictions) == 5
    assert found.explanations(figures) == ()
    assert "no sample has a text of task explain" in caplog.text


def test_explanations_are_loaded_and_asked_for_by_batch(
    run: RunConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exam, "BATCH", 2)
    found = opened(run, folder, texts={"reasoning": "because"})
    figures = found.recognition()
    asked: list[int] = []
    say = found.judge.say

    def counted(loaded: Sequence[LoadedExample]) -> list[str]:
        asked.append(len(loaded))
        return say(loaded)

    monkeypatch.setattr(found.judge, "say", counted)
    explained = found.explanations(figures)
    assert asked == [2, 2, 1] and len({item.key for item in explained}) == 5
    assert {(item.truth, item.reference, item.modalities) for item in explained} == {
        ("positive", "because", ("audio",))
    }
