"""What a run's settings may be at least is said when it is loaded."""

import json
import re

import pytest

from deemo_dist.config import load
from deemo_dist.config.load import find
from deemo_dist.errors import ConfigError


@pytest.mark.parametrize(
    "override",
    [
        "model.frames=0", "model.audio_window=0", "model.cue_rate=-1", "engine.timeout_seconds=0", "engine.ranks=0",
        "evaluation.preview_clips=-2", "evaluation.explanations=-1", "evaluation.bootstrap=-3",
        "evaluation.max_new_tokens=0",
    ],
)  # fmt: skip
def test_a_number_below_its_least_one_is_refused_by_its_key(override: str) -> None:
    key, value = override.split("=")
    with pytest.raises(ConfigError, match=f"'{key}' is {value}"):
        load("demo", [override])


@pytest.mark.parametrize("least", ["evaluation.preview_clips=0", "evaluation.bootstrap=0", "engine.watchdog_seconds=0"])
def test_the_least_one_is_taken(least: str) -> None:
    part, name, value = re.split("[.=]", least)
    assert getattr(getattr(load("demo", [least]), part), name) == int(value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"validate_every": 2, "validation_packs": 0}, "'stages.instruct.validation_packs' is 0 - 1 at least"),
        ({"validate_every": -1}, "'stages.instruct.validate_every' is -1 - 0 at least"),
        ({"early_stop": -1}, "'stages.instruct.early_stop' is -1 - 0 at least"),
    ],
)
def test_a_validation_of_nothing_is_refused_in_a_line(change: dict[str, int], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("demo", [f"stages.instruct.{name}={value}" for name, value in change.items()])
    assert str(caught.value) == f"{find('demo')}: {told}"


def test_a_stage_that_is_not_validated_needs_no_packs_for_it() -> None:
    made = load("demo", ["stages.instruct.validate_every=0", "stages.instruct.validation_packs=0"])
    assert made.stages["instruct"].validation_packs == 0


@pytest.mark.parametrize("name", ["../x", "", ".", "..", "a/b", " a", "a\\b"])
def test_a_name_that_is_no_folders_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        load("demo", [f"name={json.dumps(name)}"])


@pytest.mark.parametrize("name", ["smollm2-135m", "Länge_2", "a b.c+1", "😀"])
def test_a_name_of_letters_and_signs_is_taken(name: str) -> None:
    assert load("demo", [f"name={name}"]).name == name


def test_the_home_folder_is_where_its_sign_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = load("demo", ["storage.cache=~/c", "engine.profile_folder=~/p"])
    assert (config.storage.cache, config.engine.profile_folder) == ("/home/me/c", "/home/me/p")
    assert load("demo", ["storage.cache=c~"]).storage.cache == "c~"
