"""Nobody is held out and learned from."""

from dataclasses import replace
from pathlib import Path

import pytest

from deemo_dist.config import RunConfig, load
from deemo_dist.dataset import Examples, MixedExamples, build_examples
from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip
from deemo_dist.storage import open_store
from pipelines.datasets import open_allowed
from pipelines.heldout import refuse_shared, subjects_of
from tests.made import PEOPLE, clips_of, config_of, make

TASKS = load("demo", []).tasks


def examples_of(config: RunConfig, split: str) -> Examples:
    return build_examples(open_allowed(config, open_store(config.storage)), TASKS, ["emotion"], split)


def both_splits(person: str) -> list[Clip]:
    """Nine clips of three people, of which one clip of ``person`` is in the other split."""
    clips = clips_of()
    number = next(number for number, clip in enumerate(clips) if clip.subject == person)
    other = {"train": "test", "test": "train"}[clips[number].split]
    return [*clips[:number], replace(clips[number], split=other), *clips[number + 1 :]]


def test_people_of_other_splits_are_fine(config: RunConfig) -> None:
    make(config, clips_of())
    held, learned = examples_of(config, "test"), examples_of(config, "train")
    assert (len(subjects_of(held)), len(subjects_of(learned))) == (1, 2)
    refuse_shared("test", held, learned, "instruct")
    refuse_shared("validation", [], learned, "instruct")


def test_somebody_in_both_is_refused_and_not_named(config: RunConfig) -> None:
    make(config, both_splits("Ada"))
    held, learned = examples_of(config, "test"), examples_of(config, "train")
    with pytest.raises(DatasetError, match="1 of the 2 subjects of the test split are among") as caught:
        refuse_shared("test", held, learned, "instruct")
    keys = [*subjects_of(held).to_pylist(), *PEOPLE]
    assert not any(name in str(caught.value) for name in keys)


def test_somebody_in_another_version_of_a_mix_is_refused_too(config: RunConfig, tmp_path: Path) -> None:
    make(config, clips_of())
    again, other = config_of(tmp_path, version="v2"), config_of(tmp_path, name="other")
    make(again, both_splits("Bo"))
    make(other, clips_of())
    held = examples_of(config, "test")
    parts = {"other/v1": examples_of(other, "train"), "demo/v2": examples_of(again, "train")}
    refuse_shared("test", held, MixedExamples({"other/v1": parts["other/v1"]}), "instruct")
    with pytest.raises(DatasetError, match="1 of the 1 subjects"):
        refuse_shared("test", held, MixedExamples(parts), "instruct")
