"""Dotted overrides: how their dots are read, and what is said of a value of the wrong type."""

import shlex
from pathlib import Path

import pytest

from deemo_dist.config import MixConfig, RunConfig, load, without_key
from deemo_dist.errors import ConfigError

RUN = """
name: small
tasks:
  emotion: {prompt: "which?", answer: "{label.emotion}"}
nfbl:
  fist: {group: other, above: {hand.speed: 1.0}}
stages:
  align: {tasks: [emotion], trains: {"*": {lr: 1e-3}, "*tower.v1*": {lr: 2.0}}, mix: {old/v1.0: {weight: 1}}}
  align.b: {tasks: [emotion], trains: {}}
"""


def with_override(folder: Path, *overrides: str) -> RunConfig:
    (folder / "run.yaml").write_text(RUN)
    return load(folder / "run.yaml", overrides)


def test_a_dataset_of_a_mix_is_reached_by_its_name(tmp_path: Path) -> None:
    made = with_override(tmp_path, "stages.align.mix.demo/v1.weight=2", "stages.align.mix.old/v1.0.epochs=3")
    assert made.stages["align"].mix == {"demo/v1": MixConfig(weight=2.0), "old/v1.0": MixConfig(weight=1.0, epochs=3.0)}


@pytest.mark.parametrize("pattern", ["*", "*tower.v1*", "*vision.encoder*", "[!a]*.h?"])
def test_a_rule_is_reached_by_its_pattern(tmp_path: Path, pattern: str) -> None:
    made = with_override(tmp_path, f"stages.align.trains.{pattern}.weight_decay=0.5")
    rules = made.stages["align"].trains
    assert rules[pattern].weight_decay == 0.5
    assert rules["*"].lr == 1e-3 and rules["*tower.v1*"].lr == 2.0
    assert len(rules) == 2 + (pattern not in ("*", "*tower.v1*"))


def test_of_ways_to_read_the_dots_the_one_that_is_there_is_taken(tmp_path: Path) -> None:
    made = with_override(tmp_path, "stages.align.mix.x/y.epochs=2", "stages.align.b.epochs=5", "stages.align.epochs=4")
    assert (made.stages["align"].epochs, made.stages["align.b"].epochs) == (4, 5)
    assert set(made.stages) == {"align", "align.b"}
    assert made.stages["align"].mix["x/y"] == MixConfig(epochs=2.0)


def test_numbers_by_name_and_the_keys_of_others_are_reached(tmp_path: Path) -> None:
    made = with_override(
        tmp_path, "nfbl.fist.above.hand.speed=2", "nfbl.fist.above.lift=1", "engine.deepspeed.zero_optimization.x=1"
    )
    assert made.nfbl["fist"].above == {"hand.speed": 2.0, "lift": 1.0}
    assert made.engine.deepspeed == {"zero_optimization": {"x": 1}}


@pytest.mark.parametrize("text", ["20261201", "3e81234", "1e5", "true", "0x1F", "1.50"])
def test_text_that_looks_like_something_else_is_said_and_how_it_is_written(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_override(tmp_path, "stages.align.epochs=2", f"data.version={text}")
    assert caught.value.message == (
        f"override 'data.version={text}': 'data.version' must be text, and {text} is read as something else"
    )
    told = (caught.value.hint or "").partition("shell: ")[2]
    assert told == f"'data.version=\"{text}\"'"
    assert with_override(tmp_path, *shlex.split(told)).data.version == text


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("engine.ranks=two", "override 'engine.ranks=two': 'engine.ranks' must be a whole number, not str 'two'"),
        ("engine.ranks=", "override 'engine.ranks=': 'engine.ranks' must be a whole number, not str ''"),
        ("policy.dilate=.nan", "override 'policy.dilate=.nan': 'policy.dilate' must be a finite number"),
        ("policy.voice=wrld", "override 'policy.voice=wrld': 'policy.voice' is str 'wrld' - did you mean 'world'?"),
        ("stages.align.mix.demo/v1.wight=2", "'stages.align.mix.demo/v1.wight=2': there is no key"),
        ("stages.align.mix.demo v1.weight=2", "is not of the form key.sub=value - a key that holds other signs"),
    ],
)
def test_a_wrong_value_or_key_is_told_of_the_override(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_override(tmp_path, override)
    assert said in str(caught.value)


def test_none_lists_and_references_are_taken(tmp_path: Path) -> None:
    made = with_override(
        tmp_path, "policy.gates.face_match=null", "stages.align.tasks=[emotion]", "engine.ranks=${seed}", "seed=3"
    )
    assert made.policy.gates.face_match is None
    assert (made.engine.ranks, made.seed) == (3, 3)


@pytest.mark.parametrize("folder", ["/a/Take #2/cache", "#2", "/a #", "a # b # c"])
def test_a_number_sign_in_text_begins_no_comment(tmp_path: Path, folder: str) -> None:
    assert with_override(tmp_path, f"storage.cache={folder}").storage.cache == folder
    assert with_override(tmp_path, f'storage.cache="{folder}"').storage.cache == folder


def test_a_comment_behind_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="4 # four"):
        with_override(tmp_path, "engine.ranks=4 # four")


@pytest.mark.parametrize("override", ["stages.align.trains={}", "stages={}", "tasks.emotion={}"])
def test_an_empty_mapping_over_one_with_keys_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="would change nothing"):
        with_override(tmp_path, override)


def test_an_empty_mapping_over_none_is_taken(tmp_path: Path) -> None:
    assert with_override(tmp_path, "stages.align.b.trains={}", "engine.deepspeed={}").stages["align.b"].trains == {}


@pytest.mark.parametrize(
    ("written", "left"),
    [
        (["data.manifest=/raw/Alice", "data.version=v2"], ["data.version=v2"]),
        (['data={manifest: "/raw/Alice"}', "seed=3"], ["seed=3"]),
        (['data={"manifest": /raw/Alice, version: v2}'], ['data={"version": "v2"}']),
        (["data={version: v2}"], ['data={"version": "v2"}']),
        (["data.manifest_of=x", "seed=3"], ["data.manifest_of=x", "seed=3"]),
    ],
)
def test_overrides_without_what_they_say_of_a_key(written: list[str], left: list[str]) -> None:
    assert without_key(written, "data.manifest") == tuple(left)
