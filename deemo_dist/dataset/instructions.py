"""From annotations to conversations: task templates filled in, one example a sample and task.

Which samples make an example is decided over whole columns; an example itself is made when it is asked for.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deemo_dist.config import TaskConfig, semantic
from deemo_dist.console import logger
from deemo_dist.dataset import columns
from deemo_dist.dataset.fields import FIELD, fill, fill_prompt
from deemo_dist.dataset.opened import Dataset
from deemo_dist.dataset.rows import BATCH
from deemo_dist.dataset.windows import CHUNK, Groups, digest_of_integers
from deemo_dist.digests import digest_of, digest_of_rows
from deemo_dist.errors import ConfigError
from deemo_dist.records import Annotation, Example, IndexRow, Turn

PART = 2**16
"""Rows that are looked at together."""

MODALITIES = ("video", "audio", "cues", "text")
MEASURES = {"video": "frames", "audio": "audio_seconds", "cues": "cue_frames"}
"""The index's column that says whether a sample has a modality."""


@dataclass(frozen=True, eq=False)
class Examples(Sequence[Example]):
    """Examples by number, each made when it is asked for.

    ``rows``: its sample's number in the index, [N]; ``asked``: its task's number in ``names``, [N]; both as narrow
    integers.
    """

    dataset: Dataset
    tasks: Mapping[str, TaskConfig]
    names: tuple[str, ...]
    wanted: tuple[str, ...]
    rows: np.ndarray
    asked: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, number: int) -> Example: ...

    @overload
    def __getitem__(self, number: slice) -> list[Example]: ...

    def __getitem__(self, number: int | slice) -> Example | list[Example]:
        if isinstance(number, slice):
            return self.at(np.arange(*number.indices(len(self))))
        return self.at(np.array([range(len(self))[number]]))[0]

    def __iter__(self) -> Iterator[Example]:
        for start in range(0, len(self), BATCH):
            yield from self.at(np.arange(start, min(start + BATCH, len(self))))

    def at(self, numbers: np.ndarray) -> list[Example]:
        """The examples of these numbers (integers [N]), in their order: their rows are read all at once."""
        rows = self.dataset.index.at(self.rows[numbers])
        said = self.dataset.annotations.at([row.key for row in rows])
        names = [self.names[asked] for asked in self.asked[numbers].tolist()]
        return [
            make_example(row, annotation, name, self.tasks[name], self.wanted)
            for row, annotation, name in zip(rows, said, names, strict=True)
        ]

    @property
    def groups(self) -> Groups:
        """The examples by the unit of their sample."""
        return Groups.of_units(self.dataset.index.column("unit").to_numpy(), self.rows)

    @cached_property
    def digest(self) -> str:
        """Digest of what the examples ask and show, by what they are made of: samples, annotations, tasks, choice."""
        return digest_of(
            {
                "dataset": self.dataset.digest,
                "annotations": self.dataset.info.annotations_digest,
                "tasks": {name: semantic(self.tasks[name]) for name in self.names},
                "wanted": self.wanted,
                "rows": digest_of_integers(self.rows),
                "asked": digest_of_integers(self.asked),
            }
        )


def build_examples(
    dataset: Dataset,
    tasks: Mapping[str, TaskConfig],
    task_names: Sequence[str],
    split: str,
    *,
    modalities: Sequence[str] | None = None,
) -> Examples:
    """Examples of ``split`` for the named tasks, in the index's order; ``modalities`` narrows what each task shows.

    A sample whose annotation lacks what an answer needs, or that has none of the modalities shown, makes no example
    for that task: counted and logged. Raises ``ConfigError`` for unknown tasks, placeholders or answers.
    """
    for name in task_names:
        _check_task(name, tasks)
    wanted = tuple(name for name in MODALITIES if modalities is None or name in modalities)
    rows = dataset.split_numbers(split)
    makes = [_makes(dataset, rows, name, tasks[name], wanted, split) for name in task_names]
    return Examples(dataset, tasks, tuple(task_names), wanted, *numbered(rows, makes))


def numbered(rows: np.ndarray, makes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The row and the task of each example, sample by sample, as narrow integers, made a part at a time. ``makes``: of
    each task, which of ``rows`` make an example for it, bool [len(rows)]."""
    count = sum(int(np.count_nonzero(each)) for each in makes)
    found = np.empty(count, np.min_scalar_type(int(rows[-1]) if len(rows) else 0))
    asked = np.empty(count, np.min_scalar_type(max(len(makes) - 1, 0)))
    at = 0
    for start in range(0, len(rows) if count else 0, CHUNK):
        samples, tasks = np.nonzero(np.stack([each[start : start + CHUNK] for each in makes], axis=1))
        found[at : at + len(tasks)] = rows[start : start + CHUNK][samples]
        asked[at : at + len(tasks)] = tasks
        at += len(tasks)
    return found, asked


def _makes(
    dataset: Dataset, rows: np.ndarray, name: str, task: TaskConfig, wanted: Sequence[str], split: str
) -> np.ndarray:
    """Which of ``rows`` make an example for a task: bool [N]. The others are counted by reason, and logged. A part of
    them at a time: else all annotations would be in memory twice."""
    keys = dataset.index.column("key").take(pa.array(rows, pa.int64()))
    found = pc.index_in(keys, dataset.annotations.rows.column("key"))
    makes, out = np.ones(len(rows), bool), Counter[str]()
    for start in range(0, len(rows), PART):
        near, made = rows[start : start + PART], makes[start : start + PART]
        for reason, holds in _reasons(dataset, near, found.slice(start, PART), task, wanted):
            out[reason] += int((made & ~holds).sum())
            made &= holds
    for reason, count in out.items():
        if count:
            logger.info("%s: %d samples make no example for task %s: %s", split, count, name, reason)
    return makes


def _reasons(
    dataset: Dataset, rows: np.ndarray, found: pa.Array, task: TaskConfig, wanted: Sequence[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Why some of ``rows``, whose annotations are ``found`` at these rows, make no example, and of which that does not
    hold: bool [n]."""
    asked = ["key", *(MEASURES[mode] for mode in wanted if mode in MEASURES)]
    samples = dataset.index.table.select(asked).take(pa.array(rows, pa.int64()))
    said = dataset.annotations.rows.table.take(found)
    answers = columns.filled(task.answer, said)
    chosen = pc.is_in(answers, pa.array(task.choices)) if task.choices else pc.is_valid(answers)
    shown = np.zeros(len(rows), bool)
    for mode in (mode for mode in wanted if mode in task.modalities):
        has = columns.shows_text(task.prompt, said) if mode == "text" else pc.greater(samples.column(MEASURES[mode]), 0)
        shown |= _truth(has)
    yield "no annotation", _truth(pc.is_valid(found))
    yield "no value for its answer", _truth(pc.is_valid(answers))
    yield "its label is not one of the task's choices", _truth(chosen)
    yield "none of the modalities shown", shown


def _truth(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), bool)


def make_example(row: IndexRow, annotation: Annotation, name: str, task: TaskConfig, wanted: Sequence[str]) -> Example:
    """The example of a sample for a task that has a value for its answer."""
    answer = fill(task.answer, annotation)
    assert answer is not None
    asked = ask_example(row, annotation, name, task, wanted)
    reply = Turn(role="assistant", text=answer)
    return replace(
        asked,
        turns=(*asked.turns, reply),
        answer=answer if task.choices else None,
        turns_without_text=(*asked.turns_without_text, reply) if asked.turns_without_text else (),
    )


def ask_example(
    row: IndexRow, annotation: Annotation, name: str, task: TaskConfig, wanted: Sequence[str] = MODALITIES
) -> Example:
    """The question alone: a sample shown in those of the ``wanted`` modalities that it has, no answer."""
    prompt, uses_text = fill_prompt(task.prompt, annotation, text=True)
    shown = tuple(mode for mode in wanted if mode in task.modalities and _has(row, mode, uses_text))
    bare, _ = fill_prompt(task.prompt, annotation, text=False)
    return Example(
        key=row.key,
        task=name,
        turns=(Turn(role="user", text=prompt if "text" in shown else bare),),
        sample=row,
        modalities=shown,
        turns_without_text=(Turn(role="user", text=bare),) if "text" in shown else (),
    )


def _has(row: IndexRow, modality: str, uses_text: bool) -> bool:
    """Whether a sample has anything to show in a modality."""
    return uses_text if modality == "text" else getattr(row, MEASURES[modality]) > 0


def _check_task(name: str, tasks: Mapping[str, TaskConfig]) -> None:
    """Refuse (``ConfigError``) a task that is not there, unknown placeholders, and a prompt that text alone makes."""
    if name not in tasks:
        raise ConfigError(f"there is no task '{name}'", hint=f"known: {', '.join(sorted(tasks)) or 'none'}")
    task = tasks[name]
    for field in FIELD.findall(task.prompt + task.answer):
        if field not in ("transcript", "nfbl") and not re.fullmatch(r"(label|text)\.[\w-]+", field):
            raise ConfigError(
                f"task '{name}': unknown placeholder {{{field}}}",
                hint="known: {label.NAME}, {text.NAME}, {transcript}, {nfbl}",
            )
    if all(FIELD.search(line) or not line.strip() for line in task.prompt.split("\n")):
        raise ConfigError(
            f"task '{name}': every line of its prompt depends on a placeholder",
            hint="put {transcript} or {nfbl} on a line of its own: the line goes when there is none",
        )


def examples_digest(examples: Sequence[Example]) -> str:
    """Digest of what examples ask and show, in their order; media and shards come in by the dataset's digest."""
    if isinstance(examples, Examples):
        return examples.digest
    return digest_of_rows(
        [
            example.key,
            example.task,
            [[turn.role, turn.text] for turn in example.turns],
            list(example.modalities),
            example.answer,
        ]
        for example in examples
    )
