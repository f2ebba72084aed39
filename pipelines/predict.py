"""``deemo predict``: what a run's model says of samples of its dataset, or of raw clips, de-identified first."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deemo_dist.config import RunConfig
from deemo_dist.dataset import Dataset, ask_example, load_example, write_manifest
from deemo_dist.dataset.ingest.rows import BadRowError, clip_from_row
from deemo_dist.errors import ConfigError, DatasetError
from deemo_dist.records import Clip, Example, IndexRow
from deemo_dist.storage import Store, open_store
from pipelines.datasets import open_allowed
from pipelines.export import export_place, fetch_model
from pipelines.judge import Judge, choices_of
from pipelines.preprocess import run_preprocess
from pipelines.private import private_folder
from pipelines.stages import plan_stages

LEAST_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the model says of a sample. ``probabilities`` of the task's answers sum to 1, as the model weighs them;
    ``shown``: the modalities it was shown for them; ``explanation``: "" where the run has no task for it, or the sample
    none of the modalities which that shows."""

    key: str
    probabilities: dict[str, float]
    shown: tuple[str, ...]
    explanation: str

    @property
    def answer(self) -> str:
        """The most probable one."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


def predict_samples(keys: Sequence[str], config: RunConfig) -> Iterator[Said]:
    """Of samples of the run's dataset, by their keys or the first digits of them, in that order.

    Raises ``DatasetError`` for a key that is none, or more than one; ``ConfigError`` where a task of the evaluation is
    none of the run's; ``ModelError`` where the run has no model yet, and where its scores are not finite.
    """
    _check_tasks(config)
    store = open_store(config.storage)
    dataset = open_allowed(config, store)
    rows = [_found(dataset, key) for key in keys]
    judge = _judge(config, store, dataset)
    for row in rows:
        yield _said(row, dataset, store, judge, config)


def predict_clips(places: Sequence[str], config: RunConfig) -> Iterator[Said]:
    """Of raw clips (paths or URIs), de-identified by the run's policy in memory first; nothing of it stays. Under
    ``key`` is what their samples would be called in the run's dataset.

    Raises ``DatasetError`` for a clip that is not there, and naming the reason when one is rejected; else as for
    samples.
    """
    _check_tasks(config)
    store = open_store(config.storage)
    judge = _judge(config, store, open_allowed(config, store))
    for clip in [_clip(place, config) for place in places]:
        with _deidentified(clip, config) as (own, dataset):
            yield _said(dataset.index[0], dataset, own, judge, config)


def _check_tasks(config: RunConfig) -> None:
    """Refuse (``ConfigError``) tasks that cannot be asked, before a model is loaded for them."""
    choices_of(config)
    explain = config.evaluation.explain_task
    if explain is not None and explain not in config.tasks:
        raise ConfigError(
            f"evaluation.explain_task is '{explain}', which is no task of the run",
            hint=f"one of: {', '.join(sorted(config.tasks))}; null for no explanations",
        )


def _clip(place: str, config: RunConfig) -> Clip:
    """The manifest row of a clip of which nothing is known."""
    row = {"uri": place, "subject": "unknown", "split": "test", "source": "single"}
    try:
        return clip_from_row(row, f"file://{Path.cwd()}", config.storage, source="single")
    except BadRowError as error:
        raise DatasetError(f"{place}: {error}") from None


@contextmanager
def _deidentified(clip: Clip, config: RunConfig) -> Iterator[tuple[Store, Dataset]]:
    """A dataset of one clip, made as every other and gone afterwards."""
    with private_folder(config.execution.raw_folder) as folder:
        storage = replace(config.storage, root=f"file://{folder}/store")
        store = open_store(storage)
        key, _ = write_manifest([clip], store)
        alone = replace(
            config,
            storage=storage,
            data=replace(config.data, manifest=store.uri(key), failure_budget=1.0),
            execution=replace(config.execution, executor="local", workers=1, task=0, tasks=1),
        )
        run_preprocess(alone)
        dataset = open_allowed(alone, store)
        if not len(dataset.index):
            row = dataset.ledger[0]
            raise DatasetError(
                f"clip {row.key} was rejected by {row.stage}: {row.reason}",
                hint="what cannot be de-identified with confidence is not looked at",
            )
        yield store, dataset


def _judge(config: RunConfig, store: Store, dataset: Dataset) -> Judge:
    from deemo_dist.model import build_processor

    stages = plan_stages(config, dataset, build_processor(config.model), store)
    place = export_place(config, stages[-1])
    return Judge(fetch_model(store, place, Path(config.storage.cache) / place), config)


def _found(dataset: Dataset, asked: str) -> IndexRow:
    keys = dataset.index.column("key").to_pylist()
    found = [number for number, key in enumerate(keys) if key.startswith(asked)] if len(asked) >= LEAST_DIGITS else []
    if len(found) != 1:
        name = f"{dataset.info.name}/{dataset.info.version}"
        raise DatasetError(
            f"'{asked}' names {len(found) or 'no'} samples of dataset {name}",
            hint=f"a sample's key, or at least its first {LEAST_DIGITS} digits; for a raw clip: --clip FILE",
        )
    return dataset.index[found[0]]


def _said(row: IndexRow, dataset: Dataset, store: Store, judge: Judge, config: RunConfig) -> Said:
    choices = choices_of(config)
    asked = _asked(row, dataset, config.evaluation.task, config)
    if not asked.modalities:
        raise DatasetError(f"sample {row.key} has none of the modalities that task {asked.task} shows")
    loaded = load_example(asked, store, dataset.prefix, frames=config.model.frames)
    scores = judge.score([loaded], choices)[0]
    weights = np.exp(scores - scores.max())
    return Said(
        key=row.key,
        probabilities=dict(zip(choices, (weights / weights.sum()).tolist(), strict=True)),
        shown=asked.modalities,
        explanation=_explanation(row, dataset, store, judge, config),
    )


def _explanation(row: IndexRow, dataset: Dataset, store: Store, judge: Judge, config: RunConfig) -> str:
    """What is said of a sample over the media that the explaining task shows, which may be others."""
    task = config.evaluation.explain_task
    asked = _asked(row, dataset, task, config) if task is not None else None
    if asked is None or not asked.modalities:
        return ""
    return judge.say([load_example(asked, store, dataset.prefix, frames=config.model.frames)])[0]


def _asked(row: IndexRow, dataset: Dataset, task: str, config: RunConfig) -> Example:
    return ask_example(row, dataset.annotations[row.key], task, config.tasks[task])
