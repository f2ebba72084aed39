"""The bridge from a stage's plan to the training loop: this rank's micro-batches, step by step."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from deemo_dist.config import RunConfig
from deemo_dist.dataset import Dataset, Loader, StepBatch, cached
from deemo_dist.dataset.packload import PackLoading
from deemo_dist.environ import Placement
from deemo_dist.records import Example
from deemo_dist.storage import Store
from deemo_dist.training import StepBatches
from pipelines.costs import flops_of, stage_costs
from pipelines.stages import PlannedStage

if TYPE_CHECKING:
    from deemo_dist.model import DeemoLlamaProcessor

StepFactory = Callable[[int, Placement], Iterator[StepBatches]]
ValidationFactory = Callable[[Placement], Iterator[StepBatches]]


ALONE = Placement(rank=0, world=1, local_rank=0, launcher="single", master_addr="127.0.0.1", master_port=0)


def no_count(batch: Mapping[str, Any]) -> float:
    """Operations of a batch where nobody counts them."""
    return 0.0


def step_factory(
    config: RunConfig, dataset: Dataset, store: Store, processor: "DeemoLlamaProcessor", stage: PlannedStage
) -> StepFactory:
    """A callable that yields the stage's steps from any step on, for any placement."""

    def steps(start_step: int, place: Placement) -> Iterator[StepBatches]:
        flops = flops_of(stage_costs(config, stage.name), processor)
        loader = _training_loader(config, dataset, store, processor, stage, place, start_step=start_step)
        return (_of_rank(step, place, flops) for step in loader)

    return steps


def load_pack(
    config: RunConfig,
    dataset: Dataset,
    store: Store,
    processor: "DeemoLlamaProcessor",
    stage: PlannedStage,
    step: int,
    place: Placement,
) -> Mapping[str, Any]:
    """The first micro-batch of one rank's step, as training would get it."""
    loader = _training_loader(config, dataset, store, processor, stage, place, start_step=step, stop_step=step + 1)
    return next(iter(loader)).micro[0].batch


def pack_reads(
    config: RunConfig,
    dataset: Dataset,
    store: Store,
    processor: "DeemoLlamaProcessor",
    stage: PlannedStage,
    step: int,
) -> list[Callable[[], int]]:
    """For each pack of a step what reads all that it shows, as training's loader does, each member by its digest; it
    gives the number of samples. Nothing is decoded; the null packs that fill up a short step hold nothing to read."""
    loader = _training_loader(config, dataset, store, processor, stage, ALONE)
    loading = PackLoading(loader.store, dataset.prefix, processor, config.model.frames)
    return [partial(_read, loading, pack.examples) for pack in loader.packs(step) if pack.examples]


def _read(loading: PackLoading, examples: tuple[Example, ...]) -> int:
    loading.read(examples)
    return len(examples)


def validation_factory(
    config: RunConfig, dataset: Dataset, store: Store, processor: "DeemoLlamaProcessor", stage: PlannedStage
) -> ValidationFactory | None:
    """A callable that yields the same held-out steps at each call; None where the stage has no validation."""
    held = stage.validation
    if held is None:
        return None
    steps = -(-stage.config.validation_packs // held.plan.packs_per_step)

    def batches(place: Placement) -> Iterator[StepBatches]:
        common = _common(config, dataset, store, processor, place)
        loader = Loader(examples=held.examples, plan=held.plan, stop_step=steps, **common)
        return (_of_rank(step, place) for step in loader)

    return batches


def _training_loader(
    config: RunConfig,
    dataset: Dataset,
    store: Store,
    processor: "DeemoLlamaProcessor",
    stage: PlannedStage,
    place: Placement,
    *,
    start_step: int = 0,
    stop_step: int | None = None,
) -> Loader:
    """The loader of a stage's training examples, as one rank has it."""
    return Loader(
        examples=stage.examples,
        plan=stage.plan,
        seed=config.seed,
        modality_dropout=stage.config.modality_dropout,
        start_step=start_step,
        stop_step=stop_step,
        **_common(config, dataset, store, processor, place),
    )


def _common(
    config: RunConfig, dataset: Dataset, store: Store, processor: "DeemoLlamaProcessor", place: Placement
) -> dict[str, Any]:
    """What every loader of this rank is given."""
    return {
        "dataset": dataset,
        "store": cached(store, config.storage),
        "processor": processor,
        "rank": place.rank,
        "world": place.world,
        "frames": config.model.frames,
        "workers": config.engine.loader_workers,
        "kind": config.engine.loader_kind,
        "prefetch": config.engine.prefetch,
    }


def _of_rank(step: StepBatch, place: Placement, flops: Callable[[Mapping[str, Any]], float] = no_count) -> StepBatches:
    """One global step as the training loop takes it. A micro-batch without samples is a null pack."""
    packs = tuple(micro * place.world + place.rank if batch.keys else -1 for micro, batch in enumerate(step.micro))
    return StepBatches(
        batches=[micro.batch for micro in step.micro],
        targets=step.targets,
        packs=packs,
        samples=sum(micro.examples for micro in step.micro),
        keys=step.keys,
        flops=sum(flops(micro.batch) for micro in step.micro),
    )
