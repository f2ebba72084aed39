"""The budget of failures is that of all clips, however they are shared out among tasks."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from deemo_dist.config import RunConfig
from deemo_dist.dataset import UnitBuilder, commit_unit, dataset_prefix, pending_units
from deemo_dist.deid import KeyRing
from deemo_dist.errors import DatasetError
from deemo_dist.execution import share
from deemo_dist.records import Clip, Receipt, Unit
from deemo_dist.storage import open_store
from pipelines import preprocess

TASKS, CLIPS = 16, 4


def units_of(tasks: int = TASKS) -> tuple[Unit, ...]:
    """One unit a task."""
    return tuple(
        Unit(
            index=number,
            clips=tuple(
                Clip(uri=f"file:///raw/{number}_{clip}.mp4", subject="7", split="train", source="s", size_bytes=1)
                for clip in range(CLIPS)
            ),
        )
        for number in range(tasks)
    )


def rejecting(config: RunConfig, bad: set[int]) -> Callable[..., None]:
    """What stands for the workers: every clip of the units ``bad`` is rejected, of the others one is missing too."""
    store, prefix = open_store(config.storage), dataset_prefix(config.data.name, config.data.version)
    ring = KeyRing.open(config.keys, dataset=config.data.name)

    def run(
        sealed: Sequence[Any], factory: object, *, config: object, on_result: Callable[..., None], array: object
    ) -> None:
        for each in sealed:
            unit = each.open(ring)
            builder = UnitBuilder(unit.index, len(unit.clips), policy_digest="", toolchain_digest="")
            for clip in unit.clips if unit.index in bad else ():
                builder.rejected(ring.sample_key(clip.uri), stage="decode", reason="not_media")
            if unit.index not in bad:
                builder = UnitBuilder(unit.index, 0, policy_digest="", toolchain_digest="")
            receipt: Receipt = commit_unit(store, prefix, *builder.finish())
            on_result(each, receipt)

    return run


def tasks_of(config: RunConfig, units: Sequence[Unit], monkeypatch: pytest.MonkeyPatch, bad: set[int]) -> None:
    """Each task of the array, one after the other."""
    monkeypatch.setattr(preprocess, "run", rejecting(config, bad))
    for task in range(TASKS):
        where = replace(config.execution, tasks=TASKS, task=task)
        preprocess._do_units(replace(config, execution=where), share(units, where), units)


def test_a_task_whose_few_clips_are_all_bad_ends_if_the_whole_stays_within_the_budget(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, data=replace(config.data, failure_budget=0.1))
    units = units_of()
    tasks_of(config, units, monkeypatch, {3})
    store, prefix = open_store(config.storage), dataset_prefix(config.data.name, config.data.version)
    assert not pending_units(store, prefix, units)
    preprocess._do_units(config, units, units)


def test_the_whole_is_judged_before_it_is_committed_although_no_task_was_over_the_budget(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(config, data=replace(config.data, failure_budget=0.1))
    units = units_of()
    with caplog.at_level(logging.INFO):
        tasks_of(config, units, monkeypatch, {3, 5})
    with pytest.raises(DatasetError, match="8 clips were rejected, more than 10% of all"):
        preprocess._do_units(config, units, units)


def test_a_task_that_alone_passes_the_budget_of_all_stops(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(config, data=replace(config.data, failure_budget=0.05))
    with pytest.raises(DatasetError, match="4 clips were rejected"):
        tasks_of(config, units_of(), monkeypatch, {0})
