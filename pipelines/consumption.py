"""``deemo dataset audit``: proof of what training was fed, from committed steps and the rows of its ranks."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from deemo_dist.config import RunConfig
from deemo_dist.dataset import open_dataset
from deemo_dist.errors import CorruptDataError, DatasetError
from deemo_dist.records.consumed import ConsumedRow, keys_digest
from deemo_dist.storage import Store, open_store
from pipelines.stages import PlannedStage, plan_stages

Rows = Mapping[tuple[int, int], Mapping[int, ConsumedRow]]
"""Rows by (attempt, step), then by rank."""


@dataclass(frozen=True, kw_only=True)
class StageAudit:
    """What a stage's committed steps were fed. ``lives``: (attempt, first step, last step + 1, ranks) in their order;
    ``times``: how many examples were fed how often; ``undone``: (first step, last step + 1) of stretches whose updates
    were undone again, their data fed all the same; ``datasets``: the times of each dataset of a mix; ``problems``:
    sentences, empty when all of it is proved."""

    name: str
    steps: int
    of: int
    lives: tuple[tuple[int, int, int, int], ...]
    times: Mapping[int, int]
    problems: tuple[str, ...]
    undone: tuple[tuple[int, int], ...] = ()
    datasets: Mapping[str, Mapping[int, int]] = field(default_factory=dict)

    def __str__(self) -> str:
        fed = "; ".join(f"of {name} {_words(times)}" for name, times in self.datasets.items()) or _words(self.times)
        lives = "; ".join(f"attempt {a} made steps {s} to {e - 1} on {w} ranks" for a, s, e, w in self.lives)
        undone = "".join(f"; the updates of steps {s} to {e - 1} were undone" for s, e in self.undone)
        made = f"{self.steps} of {self.of} steps committed ({lives or 'none'})"
        return f"{self.name}: {made}, fed: {fed or 'nothing'}{undone}"


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
    """Each committed step's rows against the plan: every rank there, the right plan, the keys of its packs."""
    from deemo_dist.training import commits, lives_of, read_rows

    newest = next(iter(commits(store, stage.prefix, stage.key)), None)
    steps = newest[1].step if newest else 0
    lives = lives_of(newest[1].state, newest[1].attempt) if newest else []
    rows, problems = _by_step(read_rows(store, stage.prefix))
    fed = np.zeros(len(stage.examples), np.int64)
    keys = [example.key for example in stage.examples] if steps else []
    made: list[tuple[int, int, int, int]] = []
    for (attempt, start), (_, stop) in zip(lives, [*lives[1:], (0, steps)], strict=True):
        world = 0
        for step in range(start, stop):
            found = rows.get((attempt, step), {})
            world = next((row.world for row in found.values()), world)
            problems += _step_problems(stage, step, attempt, found, keys)
            for pack in stage.plan.step(step):
                np.add.at(fed, list(pack), 1)  # of a mix, a pack may hold an example twice
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
    stage: PlannedStage, step: int, attempt: int, rows: Mapping[int, ConsumedRow], keys: Sequence[str]
) -> Iterator[str]:
    """What is wrong with a step's rows."""
    worlds = {row.world for row in rows.values()}
    if len(worlds) != 1 or set(rows) != set(range(next(iter(worlds)))):
        yield f"step {step} (attempt {attempt}) has the rows of {len(rows)} ranks of {sorted(worlds) or 'none'}"
        return
    for rank, row in sorted(rows.items()):
        if row.plan_digest != stage.plan.digest:
            yield f"step {step}, rank {rank} was fed by another plan ({row.plan_digest[:12]})"
            continue
        packs = stage.plan.slice(step, rank, row.world)
        if row.keys_digest != keys_digest(keys[number] for pack in packs for number in pack or ()):
            yield f"step {step}, rank {rank} was fed other samples than planned"
