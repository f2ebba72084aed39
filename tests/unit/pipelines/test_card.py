import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deemo_dist.config import StageConfig, StorageConfig, TrainRule, load
from deemo_dist.dataset import (
    Dataset,
    LengthTable,
    MixedExamples,
    PlanSettings,
    StepPlan,
    build_examples,
    open_dataset,
    plan_units,
)
from deemo_dist.dataset.plan import budget_of
from deemo_dist.storage import open_store
from pipelines.card import _parts, model_card
from pipelines.evaluate import _source, _weak
from pipelines.stages import PlannedStage, learned_from
from tests import parts


def test_pretrained_parts_are_named_with_their_terms():
    model = load("demo", []).model
    pretrained = dataclasses.replace(model, llm=dataclasses.replace(model.llm, source="weights:smollm2-135m"))
    language, vision, audio = _parts(pretrained)
    assert "Apache-2.0" in language and "FineWeb-Edu" in language and "uploaded by Simon Willison" in language
    assert vision.endswith("random weights, trained here from nothing") and audio.startswith("audio: ")


def test_a_part_from_elsewhere_is_on_its_own_terms():
    model = load("demo", []).model
    elsewhere = dataclasses.replace(model, vision=dataclasses.replace(model.vision, source="google/siglip-base"))
    assert _parts(elsewhere)[1] == "vision: `google/siglip-base`, on its own terms"


@pytest.fixture
def datasets(tmp_path: Path) -> list[Dataset]:
    """The run's own, and a weak one."""
    store = open_store(StorageConfig(root=f"file://{tmp_path}"))
    units = plan_units(parts.clips(6, split="train"), 10**6)
    parts.dataset(store, units)
    parts.dataset(store, units, name="other", strength="weak")
    return [open_dataset(store, name, "v1", allow_weak=True) for name in ("demo", "other")]


def stage_of(name: str, datasets: list[Dataset]) -> PlannedStage:
    tasks = load("demo", []).tasks
    found = {f"{each.info.name}/v1": build_examples(each, tasks, ["emotion"], "train") for each in datasets}
    examples: Any = MixedExamples(found) if len(found) > 1 else next(iter(found.values()))
    config = StageConfig(tasks=("emotion",), trains={"*": TrainRule()})
    ones = np.ones(len(examples), np.int64)
    lengths = LengthTable(digest="l", tokens=ones, targets=ones, frames=ones, audio_ms=ones)
    settings = PlanSettings(seed=0, epochs=1, packs_per_step=2, budget=budget_of(config))
    plan = StepPlan(lengths, np.zeros(len(examples), np.int64), settings)
    return PlannedStage(
        name=name, config=config, examples=examples, plan=plan, key="k", prefix=f"runs/r/{name}", validation=None
    )


def test_every_dataset_of_the_mixes_is_named_once_with_its_strength(datasets: list[Dataset]) -> None:
    own, weak = datasets
    stages = [stage_of("align", [own]), stage_of("instruct", [own, weak])]
    assert learned_from(stages) == (own, weak)
    card = model_card(load("demo", []), own.info, stages)
    assert card.count(own.digest) == card.count(weak.digest) == 1
    assert "| demo/v1 | 6 | standard, strong |" in card
    assert "| other/v1 | 6 | standard, **weak: not de-identified** |" in card
    assert "other/v1" not in model_card(load("demo", []), own.info, stages[:1])
    assert _source(weak) == "learned from other/v1 (standard, weak)"
    assert _weak(stages) == ("The model learned from other/v1, which is weak: not de-identified.",)
    assert _weak(stages[:1]) == ()
