"""``deemo dataset audit``: proof of what training was fed, from committed steps and the rows of its ranks."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from deemo_dist.config import RunConfig
from deemo_dist.dataset import Examples, MixedExamples, open_dataset
from deemo_dist.errors import CorruptDataError, DatasetError
from deemo_dist.records import Example
from deemo_dist.records.consumed import ConsumedRow, fed_name, keys_digest, mark
from deemo_dist.storage import Store, open_store
from pipelines.stages import PlannedStage, plan_stages

Rows = Mapping[tuple[int, int], Mapping[int, ConsumedRow]]
"""Rows by (attempt, step), then by rank."""


def fed_names(examples: Sequence[Example]) -> list[str]:
    """The ledger's name of each example, in their order."""
    if isinstance(examples, MixedExamples):
        return [name for part in examples.parts.values() for name in fed_names(part)]
    if isinstance(examples, Examples):
        keys = examples.dataset.index.column("key").take(examples.rows).to_pylist()
        tasks = [examples.names[number] for number in examples.asked.tolist()]
        return [fed_name(key, task) for key, task in zip(keys, tasks, strict=True)]
    return [fed_name(example.key, example.task) for example in examples]


@dataclass(frozen=True)
class Names:
    """The names of a stage's examples, and back from the marks of a ledger to their numbers."""

    names: Sequence[str]

    @cached_property
    def by_mark(self) -> dict[int, int]:
        """The example of each mark; made where a row differs."""
        return {mark(name): number for number, name in enumerate(self.names)}

    def numbers(self, marks: Sequence[int]) -> list[int | None]:
        """The example of each mark; None for one of another stage."""
        return [self.by_mark.get(each) for each in marks]

    def said(self, number: int | None) -> str:
        """What messages call an example."""
        return "one that is not of this stage" if number is None else self.names[number]

    def digest(self, numbers: Sequence[int], version: int) -> str:
        """The ``keys_digest`` of these examples in a ledger's version."""
        names = (self.names[number] for number in numbers)
        return keys_digest(names if version > 1 else (name.partition(":")[0] for name in names))


@dataclass(frozen=True, kw_only=True)
class StageAudit:
    """What a stage's committed steps were fed. ``lives``: (attempt, first step, last step + 1, ranks) in their order;
    ``times``: how many examples were fed how often; ``undone``: (first step, last step + 1) of stretches whose updates
    were undone again, their data fed all the same; ``datasets``: the times of each dataset of a mix; ``problems``:
    sentences, empty when all of it is proved; ``left_out``: examples too long for a pack, which are
    not in the plan."""

    name: str
    steps: int
    of: int
    lives: tuple[tuple[int, int, int, int], ...]
    times: Mapping[int, int]
    problems: tuple[str, ...]
    undone: tuple[tuple[int, int], ...] = ()
    datasets: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    left_out: int = 0

    def __str__(self) -> str:
        fed = "; ".join(f"of {name} {_words(times)}" for name, times in self.datasets.items()) or _words(self.times)
        lives = "; ".join(f"attempt {a} made steps {s} to {e - 1} on {w} ranks" for a, s, e, w in self.lives)
        undone = "".join(f"; the updates of steps {s} to {e - 1} were undone" for s, e in self.undone)
        left = f"; {self.left_out} examples too long for a pack are left out" if self.left_out else ""
        made = f"{self.steps} of {self.of} steps committed ({lives or 'none'})"
        return f"{self.name}: {made}, fed: {fed or 'nothing'}{undone}{left}"


def _words(times: Mapping[int, int]) -> str:
    return ", ".join(f"{count} examples {often} times" for often, count in sorted(times.items()))


def audit_run(config: RunConfig) -> list[StageAudit]:
    """Audit every stage of a run. Raises ``DatasetError`` when nothing of it was ever committed."""
    from deemo_dist.model import build_processor

    store = open_store(config.storage)
    dataset = open_dataset(store, config.data.name, config.data.version, allow_weak=config.data.allow_weak_policy)
    stages = plan_stages(config, dataset, build_processor(config.model), store)
    audits = [audit_stage(store, stage) for stage in stages]
    if not any(audit.steps for audit in audits):
        raise DatasetError(f"the run '{config.name}' has no committed step", hint="train it first: deemo train -c RUN")
    return audits


def proved(audits: Sequence[StageAudit]) -> str:
    """The audits as lines. Raises ``CorruptDataError`` naming what is not as the plan says."""
    problems = [f"{audit.name}: {problem}" for audit in audits for problem in audit.problems]
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise CorruptDataError(
            f"the consumption of the run is not proved: {shown}", hint="what was trained on is not what was planned"
        )
    return "\n".join(str(audit) for audit in audits)


def audit_stage(store: Store, stage: PlannedStage) -> StageAudit:
    """Each committed step's rows against the plan: every rank there, the right plan, the examples of its packs. What
    was fed is counted by the rows."""
    from deemo_dist.training import commits, lives_of, read_rows

    newest = next(iter(commits(store, stage.prefix, stage.key)), None)
    steps = newest[1].step if newest else 0
    lives = lives_of(newest[1].state, newest[1].attempt) if newest else []
    rows, problems = _by_step(read_rows(store, stage.prefix))
    fed = np.zeros(len(stage.examples), np.int64)
    names = Names(fed_names(stage.examples) if steps else [])
    made: list[tuple[int, int, int, int]] = []
    for (attempt, start), (_, stop) in pairwise([*lives, (0, steps)]):
        world = 0
        for step in range(start, stop):
            found = rows.get((attempt, step), {})
            world = next((row.world for row in found.values()), world)
            problems += _step_problems(stage, step, attempt, found, names, fed)
        if stop > start:
            made.append((attempt, start, stop, world))
    ends = np.cumsum([len(part) for part in stage.parts.values()])[:-1]
    by_dataset = zip(stage.parts, np.split(fed, ends), strict=True)
    return StageAudit(
        name=stage.name,
        steps=steps,
        of=stage.plan.steps,
        lives=tuple(made),
        times=_times(fed) if steps else {},
        datasets={name: _times(part) for name, part in by_dataset if name and steps},
        problems=tuple(problems),
        left_out=stage.left_out,
        undone=tuple((first, end) for first, end in newest[1].state.get("undone", [])) if newest else (),
    )


def _times(fed: np.ndarray) -> dict[int, int]:
    """How many examples were fed how often."""
    times, counts = np.unique(fed, return_counts=True)
    return dict(zip(times.tolist(), counts.tolist(), strict=True))


def _by_step(rows: Sequence[ConsumedRow]) -> tuple[Rows, list[str]]:
    """Rows by step and rank; a row put twice (by a save that failed and the next) must say the same."""
    found: dict[tuple[int, int], dict[int, ConsumedRow]] = defaultdict(dict)
    problems: list[str] = []
    for row in rows:
        earlier = found[row.attempt, row.step].setdefault(row.rank, row)
        if earlier != row:
            problems.append(f"attempt {row.attempt}, rank {row.rank} has two accounts of step {row.step}")
    return found, problems


def _step_problems(
    stage: PlannedStage,
    step: int,
    attempt: int,
    rows: Mapping[int, ConsumedRow],
    names: Names,
    fed: np.ndarray,
) -> Iterator[str]:
    """What is wrong with a step's rows; what they say was fed is added to ``fed`` (times by example, int64 [N])."""
    worlds = {row.world for row in rows.values()}
    whole = len(worlds) == 1 and set(rows) == set(range(next(iter(worlds))))
    if not whole:
        yield f"step {step} (attempt {attempt}) has the rows of {len(rows)} ranks of {sorted(worlds) or 'none'}"
    for rank, row in sorted(rows.items()):
        known = whole and row.plan_digest == stage.plan.digest
        planned = [number for pack in stage.plan.slice(step, rank, row.world) for number in pack or ()] if known else []
        if known and row.keys_digest == names.digest(planned, row.version):
            np.add.at(fed, planned, 1)  # of a mix, a pack may hold an example twice
            continue
        numbers = names.numbers(row.examples)
        np.add.at(fed, [number for number in numbers if number is not None], 1)
        if whole and not known:
            yield f"step {step}, rank {rank} was fed by another plan ({row.plan_digest[:12]})"
        elif known:
            yield f"step {step}, rank {rank} was fed {_difference(row, planned, numbers, names)}"


def _difference(row: ConsumedRow, planned: Sequence[int], numbers: Sequence[int | None], names: Names) -> str:
    """In words, what was fed instead of the plan's examples."""
    if row.version < 2:
        return "other samples than planned"
    missing: Counter[int | None] = Counter(planned)
    others: Counter[int | None] = Counter(numbers)
    shared = missing & others
    missing, others = missing - shared, others - shared
    if not missing and not others:
        return "in another order than planned"
    lacks, has = (_some([names.said(number) for number in found.elements()]) for found in (missing, others))
    said = [f"{word} {some}" for word, some in (("without", lacks), ("with", has)) if some]
    return f"other examples than planned: {', '.join(said)}"


def _some(found: Sequence[str]) -> str:
    return " and ".join(found[:2]) + (f" and {len(found) - 2} more" if len(found) > 2 else "")
