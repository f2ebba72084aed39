"""Which stages a command is about, what the key of each depends on, and what is refused before it is planned."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from deemo_dist.config import MixConfig, RunConfig, StageConfig, TrainRule
from deemo_dist.dataset.lifecycle.combine import select
from deemo_dist.errors import ConfigError, DatasetError, TrainingError
from deemo_dist.model import build_processor
from deemo_dist.storage import open_store
from pipelines.datasets import open_allowed
from pipelines.stages import PlannedStage, Selection, plan_stages
from pipelines.train import parents_of
from tests.ready import prepared_in, run_in

NAMES = ("first", "middle", "last")
FASTER = {"*projector*": TrainRule(lr=1.0), "*language_model*": TrainRule()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_in(tmp_path_factory.mktemp("stages"))


def run_of(folder: Path, changed: Mapping[str, StageConfig] | None = None) -> RunConfig:
    """A run of three like stages."""
    config = run_in(folder)
    return replace(config, stages={**dict.fromkeys(NAMES, config.stages["instruct"]), **(changed or {})})


def planned(config: RunConfig) -> tuple[PlannedStage, ...]:
    store = open_store(config.storage)
    return plan_stages(config, open_allowed(config, store), build_processor(config.model), store)


@pytest.mark.parametrize(
    ("asked", "bounds", "arguments"),
    [
        ((None, None, None), (0, 3), []),
        (("middle", None, None), (1, 2), ["--from", "middle", "--until", "middle"]),
        ((None, "middle", None), (1, 3), ["--from", "middle"]),
        ((None, None, "middle"), (0, 2), ["--until", "middle"]),
        ((None, "first", "last"), (0, 3), ["--from", "first", "--until", "last"]),
    ],
)
def test_stages_are_chosen_and_told_to_each_rank(asked: tuple, bounds: tuple[int, int], arguments: list[str]) -> None:
    selection = Selection.of(*asked)
    assert selection.bounds(NAMES) == bounds and selection.arguments() == arguments
    told = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert Selection.of(None, told.get("--from"), told.get("--until")) == selection


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("middle", "first", None), "--stage names one stage alone - leave out --from and --until"),
        (("middle", None, "last"), "--stage names one stage alone - leave out --from and --until"),
        ((None, "midle", None), "there is no stage 'midle' - the run has first, middle, last"),
        ((None, None, "midle"), "there is no stage 'midle' - the run has first, middle, last"),
        ((None, "last", "first"), "stage last comes after first - their order: first, middle, last"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_in_a_line(asked: tuple, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Selection.of(*asked).bounds(NAMES)
    assert str(caught.value) == told


def test_a_stage_s_key_holds_itself_and_all_before_it(folder: Path) -> None:
    """The parent's key is in it: of stages alike in all else each has its own, and its own place."""
    before = planned(run_of(folder))
    assert [stage.name for stage in before] == list(NAMES)
    assert len({stage.key for stage in before}) == len({stage.prefix for stage in before}) == 3
    assert len({stage.plan.digest for stage in before}) == 1
    middle = replace(before[1].config, trains=FASTER)
    after = planned(run_of(folder, {"middle": middle}))
    assert [a.key == b.key for a, b in zip(after, before, strict=True)] == [True, False, False]
    assert after[2].config == before[2].config  # it is other for what it builds on alone
    again = planned(run_of(folder))
    assert [stage.key for stage in again] == [stage.key for stage in before]


def test_where_things_run_changes_no_key_and_another_seed_all(folder: Path) -> None:
    config = run_of(folder)
    keys = [stage.key for stage in planned(config)]
    elsewhere = replace(config, engine=replace(config.engine, ranks=7, watchdog_seconds=3.0))
    assert [stage.key for stage in planned(elsewhere)] == keys
    assert not set(keys) & {stage.key for stage in planned(replace(config, seed=config.seed + 1))}


def test_what_builds_on_a_stage_that_is_not_done_is_refused_in_a_line(folder: Path) -> None:
    config = run_of(folder)
    stages, store = planned(config), open_store(config.storage)
    assert parents_of(store, [], "stage first") == []
    with pytest.raises(TrainingError) as caught:
        parents_of(store, stages[:2], "stage last")
    assert str(caught.value) == (
        "stage last builds on first, which is not done under this configuration - "
        "train it first: deemo train -c RUN --until middle"
    )


def test_a_mix_of_a_version_and_what_was_filtered_from_it_is_refused(tmp_path: Path) -> None:
    config = run_in(prepared_in(tmp_path))
    store = open_store(config.storage)
    select(store, ("demo", "v1"), ("long", "v1"), lambda row: True, "frames > 0")
    mix = {"demo/v1": MixConfig(), "long/v1": MixConfig()}
    stages = {name: replace(stage, mix=mix) for name, stage in config.stages.items()}
    with pytest.raises(DatasetError, match="demo/v1 and long/v1 of the mix hold 12 samples both"):
        plan_stages(replace(config, stages=stages), open_allowed(config, store), None, store)  # type: ignore[arg-type]


def test_an_example_longer_than_the_language_model_has_positions_is_refused_before_it_is_planned(folder: Path) -> None:
    config = run_of(folder)
    llm = replace(config.model.llm, settings={**config.model.llm.settings, "max_position_embeddings": 64})
    short = replace(config, model=replace(config.model, llm=llm))
    with pytest.raises(DatasetError, match=r"example of \d+ tokens is longer than the language model's 64 positions"):
        planned(short)
