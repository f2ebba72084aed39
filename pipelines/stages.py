"""The stages of a run as data: examples, step plan, key and place of each, before anything is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deemo_dist.config import RunConfig, StageConfig, config_digest
from deemo_dist.dataset import (
    Dataset,
    Examples,
    LengthTable,
    MixedExamples,
    StepPlan,
    build_examples,
    dataset_names,
    examples_digest,
    measure_lengths,
    mixed_lengths,
    plan_stage,
)
from deemo_dist.dataset.overlap import refuse_shared_samples
from deemo_dist.dataset.overlong import leave_out
from deemo_dist.dataset.plan import budget_of
from deemo_dist.digests import digest_of
from deemo_dist.errors import ConfigError, DatasetError
from deemo_dist.records import Example
from deemo_dist.storage import Store
from pipelines.datasets import open_allowed
from pipelines.heldout import refuse_shared

if TYPE_CHECKING:
    from deemo_dist.model import DeemoLlamaProcessor

TRAIN, VALIDATION = "train", "validation"


def run_prefix(config: RunConfig) -> str:
    """Where a run keeps its attempts, stages and results."""
    return f"runs/{config.name}"


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """One stage, planned. ``key``: digest of all it depends on, its parent's key included; ``prefix``: its place;
    ``left_out``: examples that no pack holds, where the stage leaves such out."""

    name: str
    config: StageConfig
    examples: Sequence[Example]
    plan: StepPlan
    key: str
    prefix: str
    validation: "PlannedValidation | None"
    left_out: int = 0

    @property
    def parts(self) -> Mapping[str, Sequence[Example]]:
        """Its examples by the dataset they are of, ``name/version``, where several are mixed; else all, by no name."""
        return self.examples.parts if isinstance(self.examples, MixedExamples) else {"": self.examples}

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        """The datasets it is fed."""
        return tuple(part.dataset for part in self.parts.values() if isinstance(part, Examples))


@dataclass(frozen=True, kw_only=True)
class PlannedValidation:
    """The fixed plan that validation loss is measured on."""

    examples: Sequence[Example]
    plan: StepPlan


def plan_stages(
    config: RunConfig, dataset: Dataset, processor: "DeemoLlamaProcessor", store: Store
) -> tuple[PlannedStage, ...]:
    """Plan every stage of a run in order. Raises ``ConfigError`` or ``DatasetError`` for what cannot be trained."""
    if not config.stages:
        raise ConfigError(f"the run '{config.name}' has no stages", hint="take a base such as stages/demo")
    sources = open_sources(config, dataset, store)
    planned: list[PlannedStage] = []
    for name, stage in config.stages.items():
        parent = planned[-1].key if planned else ""
        planned.append(_plan(config, name, stage, parent, sources, processor, store))
    return tuple(planned)


def learned_from(stages: Sequence[PlannedStage]) -> tuple[Dataset, ...]:
    """The datasets that stages are fed, each once."""
    return tuple({dataset.prefix: dataset for stage in stages for dataset in stage.datasets}.values())


def check_ranks(stages: Sequence[PlannedStage], world: int) -> None:
    """Refuse more ranks than a stage has packs a step, the later stages included. Raises ``DatasetError``."""
    for stage in stages:
        try:
            stage.plan.micro_steps(world)
        except DatasetError as error:
            raise DatasetError(f"stage {stage.name}: {error.message}", hint=error.hint) from None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which stages a command is about: ``first`` to ``last`` by name, None for the chain's own ends."""

    first: str | None = None
    last: str | None = None

    @classmethod
    def of(cls, stage: str | None, first: str | None, last: str | None) -> "Selection":
        """From ``--stage``, ``--from`` and ``--until``. Raises ``ConfigError`` when the first goes with another."""
        if stage and (first or last):
            raise ConfigError("--stage names one stage alone", hint="leave out --from and --until")
        return cls(first=stage or first, last=stage or last)

    def arguments(self) -> list[str]:
        """As a command's arguments."""
        pairs = (("--from", self.first), ("--until", self.last))
        return [word for option, name in pairs if name for word in (option, name)]

    def bounds(self, names: Sequence[str]) -> tuple[int, int]:
        """Positions [first, end) among a run's stages. Raises ``ConfigError``: no such stage, or the wrong way."""
        for name in (self.first, self.last):
            if name is not None and name not in names:
                raise ConfigError(f"there is no stage '{name}'", hint=f"the run has {', '.join(names)}")
        first = 0 if self.first is None else names.index(self.first)
        end = len(names) if self.last is None else names.index(self.last) + 1
        if first >= end:
            raise ConfigError(f"stage {self.first} comes after {self.last}", hint=f"their order: {', '.join(names)}")
        return first, end


def open_sources(config: RunConfig, dataset: Dataset, store: Store) -> dict[str, Dataset]:
    """Every dataset of a run's stages by ``name/version``, its own one ``dataset`` first; the others of its stages'
    mixes are opened, and refused as that one is (``DatasetError``)."""
    sources = {f"{dataset.info.name}/{dataset.info.version}": dataset}
    for stage in config.stages.values():
        for key, (name, version) in dataset_names(stage.mix).items():
            if key not in sources:
                sources[key] = open_allowed(config, store, name, version, ledger=False)
    return sources


def _plan(
    config: RunConfig,
    name: str,
    stage: StageConfig,
    parent: str,
    sources: Mapping[str, Dataset],
    processor: "DeemoLlamaProcessor",
    store: Store,
) -> PlannedStage:
    examples, plan, left_out = _planned(config, stage, TRAIN, sources, processor, store)
    names = list(stage.mix) or list(sources)[:1]
    key = digest_of(
        {
            "stage": config_digest(stage),
            "model": config_digest(config.model),
            "engine": config_digest(config.engine),
            "seed": config.seed,
            "plan": plan.digest,
            "examples": examples_digest(examples),
            "dataset": [sources[each].digest for each in names],
            "parent": parent,
        }
    )
    validation = None
    if stage.validate_every:
        held, held_plan, _ = _planned(config, stage, VALIDATION, sources, processor, store)
        refuse_shared(VALIDATION, held, examples, name)
        validation = PlannedValidation(examples=held, plan=held_plan)
    return PlannedStage(
        name=name,
        config=stage,
        examples=examples,
        plan=plan,
        key=key,
        prefix=f"{run_prefix(config)}/{name}-{key[:12]}",
        validation=validation,
        left_out=left_out,
    )


def _planned(
    config: RunConfig,
    stage: StageConfig,
    split: str,
    sources: Mapping[str, Dataset],
    processor: "DeemoLlamaProcessor",
    store: Store,
) -> tuple[Sequence[Example], StepPlan, int]:
    """A split's examples, of the run's dataset or of those the stage mixes, the plan over them, and how many are left
    out for their length."""
    names = list(stage.mix) or list(sources)[:1]
    if split == TRAIN:
        refuse_shared_samples({name: sources[name] for name in names})
    parts = {name: build_examples(sources[name], config.tasks, stage.tasks, split) for name in names}
    empty = [name for name, part in parts.items() if not part]
    if empty and (split == TRAIN or len(empty) == len(parts)):
        raise DatasetError(
            f"no {split} sample of dataset {empty[0]} has an example for {', '.join(stage.tasks)}",
            hint="look at its splits and labels: deemo dataset show -c RUN",
        )
    found = {name: part for name, part in parts.items() if part}  # held out: of the datasets that hold some out
    tables = [_lengths(config, part, processor, store) for part in found.values()]
    all_of_them = sum(map(len, tables))
    if stage.overlong == "leave_out":
        kept = [leave_out(*pair, budget_of(stage)) for pair in zip(found.values(), tables, strict=True)]
        found = {name: part for name, (part, _) in zip(found, kept, strict=True)}
        tables = [table for _, table in kept]
    examples: Sequence[Example] = MixedExamples(found) if stage.mix else next(iter(found.values()))
    lengths = mixed_lengths(tables) if stage.mix else tables[0]
    _refuse_beyond(processor.positions, lengths)
    epochs = 1 if split == VALIDATION else None
    plan = plan_stage(examples, lengths, stage, seed=config.seed, epochs=epochs, store=store)
    return examples, plan, all_of_them - len(lengths)


def _refuse_beyond(positions: int | None, lengths: LengthTable) -> None:
    """Raise ``DatasetError`` for an example longer than the language model has ``positions``, which start anew with
    each example of a pack."""
    longest = lengths.largest()[0]
    if positions is not None and longest > positions:
        raise DatasetError(
            f"an example of {longest} tokens is longer than the language model's {positions} positions",
            hint=f"shorten what the task shows; or leave such ones out: max_tokens={positions}, overlong=leave_out",
        )


def _lengths(config: RunConfig, examples: Examples, processor: "DeemoLlamaProcessor", store: Store) -> LengthTable:
    return measure_lengths(
        examples,
        processor.length_of,
        dataset_digest=examples.dataset.digest,
        processor_digest=config_digest(config.model),
        store=store,
    )
