"""The loader: media true to the shards, resumable by a step, the same for any ranks, dropout by place."""

import dataclasses
import multiprocessing
from typing import Any

import numpy as np
import pytest
from loader_functions import Packer

from deemo_dist.config import TaskConfig
from deemo_dist.dataset import (
    Budget,
    Dataset,
    Loader,
    PlanSettings,
    StepPlan,
    build_examples,
    drop_modalities,
    load_example,
    load_examples,
    load_member,
    open_dataset,
    plan_units,
    table_of,
)
from deemo_dist.dataset.lifecycle.tombstones import put_tombstone
from deemo_dist.dataset.media import wanted_members
from deemo_dist.dataset.packload import Loaded, PackLoading, pinned
from deemo_dist.dataset.rows import Rows
from deemo_dist.dataset.workers import Workers
from deemo_dist.errors import CorruptDataError, DatasetError, NotFoundError
from deemo_dist.records import Example, Length
from deemo_dist.storage import Store

TASK = TaskConfig(prompt="They said: {transcript}\nWhich emotion?", answer="{label.emotion}")


@pytest.fixture
def dataset(made: Any, store: Store) -> Dataset:
    made.dataset(store, plan_units(made.clips(30), 6000))
    return open_dataset(store, "demo", "v1")


@pytest.fixture
def examples(dataset: Dataset) -> list[Example]:
    return build_examples(dataset, {"emotion": TASK}, ["emotion"], "train")


@pytest.fixture
def plan(examples: list[Example]) -> StepPlan:
    lengths = table_of([Length(tokens=90 + n, targets=1, frames=8, audio_seconds=0.5) for n, _ in enumerate(examples)])
    settings = PlanSettings(seed=3, epochs=2, packs_per_step=3, budget=Budget(tokens=330, frames=64, audio_seconds=9))
    return StepPlan(lengths, np.array([e.sample.unit for e in examples]), settings)


def test_media_are_those_of_the_sample(dataset: Dataset, examples: list[Example], store: Store, made: Any) -> None:
    loaded = load_example(examples[0], store, dataset.prefix, frames=4)
    media = loaded.media
    assert media.frames is not None and media.frame_times is not None and media.waveform is not None
    assert media.frames.shape == (4, 48, 64, 3) and media.frames.dtype == np.uint8
    assert media.frame_times.tolist() == [1 / 8, 4 / 8, 7 / 8, 10 / 8]
    assert [int(frame[24].sum(axis=1).argmax()) // 4 for frame in media.frames] == [1, 4, 7, 10]
    assert media.waveform.shape == (8000,)
    assert media.cues is not None and media.cues.dtype == np.float16 and media.cues.shape == (6, 5, 3)
    assert np.array_equal(media.cue_times, np.arange(6) / 4)
    assert loaded.figures["bytes"] > 0


def test_absent_modalities_are_none_and_not_read(dataset: Dataset, examples: list[Example], store: Store) -> None:
    silent = next(example for example in examples if "audio" not in example.modalities)
    assert load_example(silent, store, dataset.prefix).media.waveform is None
    (text,) = drop_modalities([examples[0]], 1.0, seed=0, step=0, pack=0)
    assert len(text.modalities) == 1
    assert all(member.extension != "mp4" for member in wanted_members(text)) or text.modalities == ("video",)


def test_a_member_as_it_stands(dataset: Dataset, store: Store, made: Any) -> None:
    row = dataset.index[0]
    assert load_member(row, store, dataset.prefix, "mp4") == made.sample(made.clips(1)[0], 0).video
    with pytest.raises(DatasetError, match="no member exe"):
        load_member(row, store, dataset.prefix, "exe")


def test_neighbours_are_read_at_once(
    dataset: Dataset, examples: list[Example], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    real = type(store).get_range
    monkeypatch.setattr(type(store), "get_range", lambda self, key, *span: reads.append(key) or real(self, key, *span))
    same = [example for example in examples if example.sample.shard == examples[0].sample.shard]
    assert len(same) > 1
    load_examples(same, store, dataset.prefix, frames=1)
    assert len(reads) == 1


def test_a_damaged_member_is_refused(dataset: Dataset, examples: list[Example], store: Store) -> None:
    sample = examples[0].sample
    key = f"{dataset.prefix}/shards/{sample.shard}"
    data = bytearray(store.get(key))
    data[sample.members[0].offset + 50] ^= 1
    store.put(key, bytes(data))
    with pytest.raises(CorruptDataError, match=r"mp4 does not have the digest of the index"):
        load_example(examples[0], store, dataset.prefix)


def loader_of(dataset: Dataset, store: Store, examples: list[Example], plan: StepPlan, **how: Any) -> Loader:
    settings = {"seed": 5, "frames": 1, "modality_dropout": 0.4, "kind": "thread", **how}
    return Loader(dataset=dataset, store=store, examples=examples, plan=plan, processor=Packer(), **settings)


def shown(loader: Loader) -> list[Any]:
    return [
        (batch.step, [micro.batch["shown"] for micro in batch.micro], batch.targets, batch.keys) for batch in loader
    ]


def test_a_resume_from_any_step_equals_the_tail(
    dataset: Dataset, store: Store, examples: list[Example], plan: StepPlan
) -> None:
    whole = shown(loader_of(dataset, store, examples, plan))
    assert len(whole) == plan.steps > 4
    for start in range(plan.steps + 1):
        for workers in (0, 2):
            assert shown(loader_of(dataset, store, examples, plan, start_step=start, workers=workers)) == whole[start:]
    assert shown(loader_of(dataset, store, examples, plan, stop_step=2)) == whole[:2]


@pytest.mark.parametrize("world", [2, 3])
def test_the_ranks_together_see_what_one_sees(
    dataset: Dataset, store: Store, examples: list[Example], plan: StepPlan, world: int
) -> None:
    alone = [[pack for pack in step[1] if pack] for step in shown(loader_of(dataset, store, examples, plan))]
    ranks = [shown(loader_of(dataset, store, examples, plan, rank=r, world=world, workers=1)) for r in range(world)]
    for step, packs in enumerate(alone):
        dealt = [ranks[r][step][1][m] for m in range(plan.micro_steps(world)) for r in range(world)]
        assert [pack for pack in dealt if pack] == packs
        assert {rank[step][2] for rank in ranks} == {plan.targets(step)}


@pytest.mark.slow
def test_processes_give_what_threads_give_though_one_is_killed(
    dataset: Dataset, store: Store, examples: list[Example], plan: StepPlan
) -> None:
    whole = shown(loader_of(dataset, store, examples, plan, start_step=2))
    steps = iter(loader_of(dataset, store, examples, plan, start_step=2, workers=2, kind="process", prefetch=1))
    first = next(steps)
    mine = [child for child in multiprocessing.active_children() if child.name.startswith("deemo-loader")]
    assert len(mine) == 2 and first.wait_seconds > 0
    for child in mine:
        child.kill()
    rest = [(b.step, [micro.batch["shown"] for micro in b.micro], b.targets, b.keys) for b in steps]
    assert rest == whole[1:]
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("deemo-loader")]


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_the_keys_of_a_step_are_those_that_a_worker_packed(
    dataset: Dataset,
    store: Store,
    examples: list[Example],
    plan: StepPlan,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two packs of one step whose work is mixed up: what is reported is what was loaded, not what was planned."""
    planned = shown(loader_of(dataset, store, examples, plan))
    packs = list(loader_of(dataset, store, examples, plan).packs(1))
    first, second = packs[0].examples, packs[1].examples
    submit, whole = Workers.submit, PackLoading.whole

    def swap(task: Any) -> Any:
        return second if task == first else first if task == second else task

    monkeypatch.setattr(Workers, "submit", lambda self, task, name: submit(self, swap(task), name))
    monkeypatch.setattr(PackLoading, "whole", lambda self, task: whole(self, swap(task)))
    mixed = shown(loader_of(dataset, store, examples, plan, workers=1, kind=kind))
    assert [step[3] for step in mixed if step[0] != 1] == [step[3] for step in planned if step[0] != 1]
    assert mixed[1][3] == named(packs[1]) + named(packs[0]) + named(packs[2])
    assert planned[1][3] == named(packs[0]) + named(packs[1]) + named(packs[2])


def named(pack: Any) -> tuple[str, ...]:
    return tuple(f"{example.key}:{example.task}" for example in pack.examples)


class Losing(Packer):
    """A processor that packs one example fewer than it is given, and says so by its ``cu_seqlens``."""

    def pack(self, examples: Any) -> dict[str, Any]:
        return {**super().pack(examples), "cu_seqlens": np.arange(len(examples))}


def test_a_processor_that_drops_an_example_is_refused(
    dataset: Dataset, store: Store, examples: list[Example], plan: StepPlan
) -> None:
    with pytest.raises(DatasetError, match=r"put \d examples into a pack of \d"):
        shown(dataclasses.replace(loader_of(dataset, store, examples, plan), processor=Losing()))


class Telling(Packer):
    """A processor that says how many tokens and targets each example has: ``planned`` by key, one token fewer for each
    modality that is not shown."""

    def __init__(self, planned: dict[str, tuple[int, int]], modalities: dict[str, tuple[str, ...]]) -> None:
        self.planned, self.modalities = planned, modalities

    def pack(self, examples: Any) -> dict[str, Any]:
        found = [(self.planned[e.example.key], self._dropped(e.example)) for e in examples]
        ends = np.cumsum([0, *(tokens - dropped for (tokens, _), dropped in found)])
        rows = [
            np.arange(end - targets, end) - 1 for end, ((_, targets), _) in zip(ends[1:].tolist(), found, strict=True)
        ]
        return {**super().pack(examples), "cu_seqlens": ends, "label_rows": np.concatenate(rows)}

    def _dropped(self, example: Example) -> int:
        return len(self.modalities[example.key]) - len(example.modalities)


@pytest.mark.parametrize(("off", "what"), [((1, 0), "tokens"), ((-1, 0), "tokens"), ((0, 1), "targets")])
def test_a_pack_that_is_not_as_planned_is_refused(
    dataset: Dataset, store: Store, examples: list[Example], plan: StepPlan, off: tuple[int, int], what: str
) -> None:
    """With dropout: an example that shows less has fewer tokens, and the same targets."""
    planned = {example.key: (90 + number, 1) for number, example in enumerate(examples)}
    modalities = {example.key: example.modalities for example in examples}
    loader = loader_of(dataset, store, examples, plan)
    pack = next(pack for pack in loader.packs(0) if any(pack.whole))
    number = pack.numbers[pack.whole.index(True)]
    key = examples[number].key
    told = dataclasses.replace(loader, processor=Telling(planned, modalities))
    assert shown(told) == shown(loader)
    tokens, targets = planned[key][0] + off[0], planned[key][1] + off[1]
    wrong = dataclasses.replace(loader, processor=Telling({**planned, key: (tokens, targets)}, modalities))
    figures = {"tokens": (tokens, 90 + number), "targets": (targets, 1)}[what]
    said = (
        rf"{pack.name}: example {key}:emotion has {figures[0]} {what}, and {figures[1]} by its plan - delete lengths/"
    )
    with pytest.raises(DatasetError, match=said):
        shown(wrong)


def test_errors_of_processes_reach_the_loop(
    dataset: Dataset, store: Store, examples: list[Example], plan: StepPlan
) -> None:
    store.delete(f"{dataset.prefix}/shards/{examples[0].sample.shard}")
    with pytest.raises(NotFoundError, match="shards/00000"):
        shown(loader_of(dataset, store, examples, plan, workers=1, kind="process"))


def test_the_reads_of_a_step_are_known_without_its_media(
    dataset: Dataset, store: Store, examples: list[Example], plan: StepPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = loader_of(dataset, store, examples, plan, start_step=3, stop_step=4)
    asked: list[tuple[str, int, int]] = []
    real = type(store).get_range
    monkeypatch.setattr(type(store), "get_range", lambda self, *span: asked.append(span) or real(self, *span))
    expected = loader.reads(3)
    assert not asked
    shown(loader)
    assert asked == [(f"{dataset.prefix}/shards/{shard}", start, length) for shard, start, length in expected]


def test_a_step_reads_its_rows_at_once(
    dataset: Dataset, store: Store, examples: list[Example], plan: StepPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All packs of a rank together: a resume does not wait for one row after another."""
    reads: list[int] = []
    real = Rows._made
    monkeypatch.setattr(Rows, "_made", lambda rows, part: reads.append(len(part)) or real(rows, part))
    packs = list(loader_of(dataset, store, examples, plan).packs(1))
    numbers = [number for pack in packs for number in pack.numbers]
    assert len(packs) == 3 and reads == [len(numbers)] * 2
    whole = list(loader_of(dataset, store, examples, plan, modality_dropout=0.0).packs(1))
    assert [pack.examples for pack in whole] == [tuple(examples[n] for n in pack.numbers) for pack in packs]


def test_batches_are_pinned_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    loaded = Loaded(batch={"x": torch.ones(3), "n": 1}, bytes=3.0)
    assert pinned(loaded) is loaded
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self + 1)
    assert pinned(loaded).batch["x"].tolist() == [2, 2, 2] and pinned(loaded).batch["n"] == 1
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    assert pinned(loaded) is loaded


def test_leaving_early_ends_the_threads(
    dataset: Dataset, store: Store, examples: list[Example], plan: StepPlan
) -> None:
    import threading

    steps = iter(loader_of(dataset, store, examples, plan, workers=2))
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("deemo-loader")]


def test_errors_of_threads_reach_the_loop(
    dataset: Dataset, store: Store, examples: list[Example], plan: StepPlan
) -> None:
    store.delete(f"{dataset.prefix}/shards/{examples[0].sample.shard}")
    with pytest.raises(Exception, match="shards/00000"):
        shown(loader_of(dataset, store, examples, plan, workers=2))


def test_another_plans_examples_are_refused(
    dataset: Dataset, store: Store, examples: list[Example], plan: StepPlan
) -> None:
    with pytest.raises(DatasetError, match="the plan is for"):
        loader_of(dataset, store, examples[:-1], plan)
    with pytest.raises(DatasetError, match="ranks cannot share"):
        loader_of(dataset, store, examples, plan, world=4)


def test_a_dataset_that_ends_while_it_is_read_is_refused_in_one_line(
    dataset: Dataset, examples: list[Example], plan: StepPlan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"dataset": dataset, "store": store, "examples": examples, "plan": plan}
    loader = Loader(**settings, processor=Packer())
    steps = iter(loader)
    next(steps)
    put_tombstone(store, dataset.prefix, why="erasure", replaced_by="demo/v1-e1")
    next(steps)  # looked a moment ago
    for shard in store.list(f"{dataset.prefix}/shards"):
        store.delete(shard)
    with pytest.raises(DatasetError, match=r"demo/v1 is tombstoned .*data.version=v1-e1"):
        list(steps)
    with pytest.raises(DatasetError, match="is tombstoned"):
        Loader(**settings, processor=Packer())
    monkeypatch.setattr("deemo_dist.dataset.loader.LOOK_SECONDS", -1.0)
    with pytest.raises(DatasetError, match="is tombstoned"):
        next(iter(loader))


def test_dropout_keeps_one_and_depends_on_the_place_alone(examples: list[Example]) -> None:
    seen = set()
    for step in range(40):
        dropped = drop_modalities(examples, 0.9, seed=1, step=step, pack=2)
        assert dropped == drop_modalities(examples, 0.9, seed=1, step=step, pack=2)
        assert all(example.modalities for example in dropped)
        assert all(set(new.modalities) <= set(old.modalities) for new, old in zip(dropped, examples, strict=True))
        seen.update(example.modalities for example in dropped)
    assert {("video",), ("audio",), ("cues",), ("text",)} <= seen
    assert drop_modalities(examples, 0.9, seed=1, step=0, pack=0) != drop_modalities(
        examples, 0.9, seed=1, step=0, pack=1
    )
    assert drop_modalities(examples, 0.0, seed=1, step=0, pack=0) == tuple(examples)


def test_dropout_has_the_chance_asked_for(examples: list[Example]) -> None:
    full = [example for example in examples if len(example.modalities) == 4]
    kept = [
        "video" in example.modalities
        for step in range(300)
        for example in drop_modalities(full, 0.2, seed=9, step=step, pack=0)
    ]
    assert abs(np.mean(kept) - 0.8) < 0.03
