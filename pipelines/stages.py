"""The stages of a run as data: examples, step plan, key and place of each, before anything is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deemo_dist.config import RunConfig, StageConfig, config_digest
from deemo_dist.dataset import Dataset, StepPlan, build_examples, examples_digest, measure_lengths, plan_stage
from deemo_dist.digests import digest_of
from deemo_dist.errors import ConfigError, DatasetError
from deemo_dist.records import Example
from deemo_dist.storage import Store

if TYPE_CHECKING:
    from deemo_dist.model import DeemoLlamaProcessor

TRAIN, VALIDATION = "train", "validation"


def run_prefix(config: RunConfig) -> str:
    """Where a run keeps its attempts, stages and results."""
    return f"runs/{config.name}"


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """One stage, planned. ``key``: digest of all it depends on, its parent's key included; ``prefix``: its place."""

    name: str
    config: StageConfig
    examples: Sequence[Example]
    plan: StepPlan
    key: str
    prefix: str
    validation: "PlannedValidation | None"


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
    planned: list[PlannedStage] = []
    for name, stage in config.stages.items():
        parent = planned[-1].key if planned else ""
        planned.append(_plan(config, name, stage, parent, dataset, processor, store))
    return tuple(planned)


def _plan(
    config: RunConfig,
    name: str,
    stage: StageConfig,
    parent: str,
    dataset: Dataset,
    processor: "DeemoLlamaProcessor",
    store: Store,
) -> PlannedStage:
    examples, plan = _planned(config, stage, TRAIN, dataset, processor, store)
    key = digest_of(
        {
            "stage": config_digest(stage),
            "model": config_digest(config.model),
            "engine": config_digest(config.engine),
            "seed": config.seed,
            "plan": plan.digest,
            "examples": examples_digest(examples),
            "dataset": dataset.digest,
            "parent": parent,
        }
    )
    validation = None
    if stage.validate_every:
        held, held_plan = _planned(config, stage, VALIDATION, dataset, processor, store)
        validation = PlannedValidation(examples=held, plan=held_plan)
    return PlannedStage(
        name=name,
        config=stage,
        examples=examples,
        plan=plan,
        key=key,
        prefix=f"{run_prefix(config)}/{name}-{key[:12]}",
        validation=validation,
    )


def _planned(
    config: RunConfig,
    stage: StageConfig,
    split: str,
    dataset: Dataset,
    processor: "DeemoLlamaProcessor",
    store: Store,
) -> tuple[Sequence[Example], StepPlan]:
    examples = build_examples(dataset, config.tasks, stage.tasks, split)
    if not examples:
        raise DatasetError(
            f"no {split} sample of dataset {dataset.info.name}/{dataset.info.version} has an example for "
            f"{', '.join(stage.tasks)}",
            hint="look at its splits and labels: deemo dataset show -c RUN",
        )
    lengths = measure_lengths(
        examples,
        processor.length_of,
        dataset_digest=dataset.digest,
        processor_digest=config_digest(config.model),
        store=store,
    )
    epochs = 1 if split == VALIDATION else None
    return examples, plan_stage(examples, lengths, stage, seed=config.seed, epochs=epochs, store=store)
