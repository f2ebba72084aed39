"""Examples of two datasets in one plan, loaded each from its own shards."""

from typing import Any

import numpy as np
import pytest
from loader_functions import Packer

from deemo_dist.config import MixConfig, StageConfig, TaskConfig, TrainRule
from deemo_dist.dataset import (
    Loader,
    MixedExamples,
    StepPlan,
    build_examples,
    mixed_lengths,
    open_dataset,
    plan_stage,
    plan_units,
    table_of,
)
from deemo_dist.errors import NotFoundError
from deemo_dist.records import Length
from deemo_dist.records.consumed import fed_name
from deemo_dist.storage import Store
from deemo_dist.training.checkpoint.commit import put_commit
from deemo_dist.training.checkpoint.layout import Commit
from deemo_dist.training.consumption import Fed, put_rows
from pipelines.consumption import audit_stage
from pipelines.stages import PlannedStage

TASK = TaskConfig(prompt="They said: {transcript}\nWhich emotion?", answer="{label.emotion}")
SHARES = {"demo/v1": MixConfig(weight=2.0), "other/v1": MixConfig(epochs=2)}


@pytest.fixture
def examples(made: Any, store: Store) -> MixedExamples:
    clips = made.clips(30)
    made.dataset(store, plan_units(clips[:20], 6000))
    made.dataset(store, plan_units(clips[20:], 6000), name="other")
    parts = {}
    for name in ("demo", "other"):
        opened = open_dataset(store, name, "v1")
        parts[f"{name}/v1"] = build_examples(opened, {"emotion": TASK}, ["emotion"], "train")
    return MixedExamples(parts)


def stage_of(mix: dict[str, MixConfig]) -> StageConfig:
    how = {"packs_per_step": 3, "max_tokens": 330, "epochs": 7, "mix": mix}
    return StageConfig(tasks=("emotion",), trains={"*": TrainRule()}, **how)


def plan_of(examples: MixedExamples, mix: dict[str, MixConfig] = SHARES, **more: Any) -> StepPlan:
    like = Length(tokens=100, targets=1, frames=8, audio_seconds=0.5)
    lengths = mixed_lengths([table_of([like] * len(part)) for part in examples.parts.values()])
    return plan_stage(examples, lengths, stage_of(mix), seed=1, **more)


def test_examples_are_numbered_one_dataset_after_the_other(examples: MixedExamples) -> None:
    keys = [example.key for example in examples]
    assert len(keys) == len(set(keys)) == len(examples) == 24
    assert [examples[number].key for number in range(24)] == keys
    assert [example.key for example in examples[20:]] == keys[20:] and examples[-1].key == keys[-1]
    assert {example.prefix for example in examples[:16]} == {"datasets/demo/v1"}
    assert {example.prefix for example in examples[16:]} == {"datasets/other/v1"}
    for beyond in (24, -25):
        with pytest.raises(IndexError, match="24 examples"):
            examples[beyond]
    assert MixedExamples(dict(reversed(examples.parts.items()))).digest != examples.digest


def test_a_stage_mixes_by_its_shares(examples: MixedExamples) -> None:
    plan = plan_of(examples)
    shown = [number for step in range(plan.steps) for items in plan.step(step) for number in items]
    counts = np.bincount(shown, minlength=24)
    assert (counts[16:] == 2).all() and counts[:16].tolist() == [2] * 16
    held = plan_of(examples, epochs=1)
    assert sorted(number for s in range(held.steps) for items in held.step(s) for number in items) == list(range(24))


@pytest.mark.parametrize("workers", [0, 2])
def test_each_is_loaded_from_its_own_shards(examples: MixedExamples, store: Store, workers: int) -> None:
    plan = plan_of(examples)
    demo = examples.parts["demo/v1"].dataset

    def loader(start: int) -> Loader:
        how = {"frames": 1, "workers": workers, "kind": "thread", "start_step": start}
        return Loader(dataset=demo, store=store, examples=examples, plan=plan, processor=Packer(), **how)

    whole = [(step.keys, [micro.bytes for micro in step.micro]) for step in loader(0)]
    names = [fed_name(example.key, example.task) for example in examples]
    for step, (keys, _) in enumerate(whole):
        assert list(keys) == [names[number] for items in plan.step(step) for number in items]
    assert min(size for _, sizes in whole[:-1] for size in sizes) > 0
    assert [(step.keys, [micro.bytes for micro in step.micro]) for step in loader(4)] == whole[4:]
    for key in store.list("datasets/other/v1/shards/"):
        store.delete(key)
    with pytest.raises(NotFoundError, match="datasets/other/v1/shards"):
        list(loader(0))


def test_the_audit_counts_each_dataset_over_restarts(examples: MixedExamples, store: Store) -> None:
    shares = {"demo/v1": MixConfig(weight=0.25), "other/v1": MixConfig(epochs=5)}
    plan = plan_of(examples, mix=shares)
    stage = PlannedStage(
        name="s", config=stage_of(shares), examples=examples, plan=plan, key="k", prefix="runs/r/s", validation=None
    )
    names = [fed_name(example.key, example.task) for example in examples]
    for attempt, start, world in ((1, 0, 2), (2, 3, 1)):
        for rank in range(world):
            fed = Fed(attempt=attempt, rank=rank, world=world, plan_digest=plan.digest)
            for step in range(start, plan.steps):
                fed.note(step, [names[n] for pack in plan.slice(step, rank, world) for n in pack or ()])
            put_rows(store, stage.prefix, fed.rows)
    done = {"stage_key": "k", "step": plan.steps, "attempt": 2, "world": 1, "final": True, "receipts": ()}
    put_commit(store, "runs/r", stage.prefix, Commit(**done, state={"lives": [(1, 0), (2, 3)]}))
    audit = audit_stage(store, stage)
    assert audit.problems == ()
    assert audit.datasets == {"demo/v1": {0: 6, 1: 10}, "other/v1": {5: 8}}
    assert "fed: of demo/v1 6 examples 0 times, 10 examples 1 times; of other/v1 8 examples 5 times" in str(audit)
    assert [dataset.info.name for dataset in stage.datasets] == ["demo", "other"]
