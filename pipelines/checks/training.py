"""Would the run's training work? Its dataset, packs, model and memory, each by a check."""

import time
from typing import TYPE_CHECKING, Any

from deemo_dist.config import TaskConfig
from deemo_dist.environ import gpus
from deemo_dist.errors import ConfigError, TrainingError
from pipelines.checks.known import InPart, Known

if TYPE_CHECKING:
    from pipelines.stages import PlannedStage


def dataset(known: Known) -> str:
    """Is the dataset there, under the run's policy?"""
    from pipelines.datasets import open_allowed

    assert known.store is not None
    known.dataset = open_allowed(known.config, known.store)
    info = known.dataset.info
    where = f"{info.name}/{info.version}, {info.dataset_digest[:12]}"
    return f"{where}: {info.samples} samples under '{info.header.policy}'"


def budgets(known: Known) -> str:
    """Does every example fit into a pack, and every rank get one?"""
    from deemo_dist.model import build_processor
    from pipelines.stages import check_ranks, plan_stages

    assert known.store is not None and known.dataset is not None
    known.processor = build_processor(known.config.model)
    known.stages = plan_stages(known.config, known.dataset, known.processor, known.store)
    check_ranks(known.stages, known.world)
    told = []
    for stage in known.stages:
        tokens, frames, audio = stage.plan.lengths.largest()
        told.append(
            f"{stage.name}: {stage.plan.steps} steps, largest {tokens}/{stage.config.max_tokens} tokens, "
            f"{frames}/{stage.config.max_frames} frames, {audio / 1000:g}/{stage.config.max_audio_seconds:g} s"
        )
    return "; ".join(told)


def engine(known: Known) -> str:
    """Can the engine do what is asked, and does every stage train something?"""
    from deemo_dist.training.engine_config import check, check_quantised
    from pipelines.room import check_disk
    from pipelines.stage_model import stage_model

    settings = known.config.engine
    check(settings, world=known.world, on_gpu=gpus() > 0 or known.gpu is not None)
    told = []
    for name in known.config.stages:
        model = known.models[name] = stage_model(known.config, name)
        check_quantised(settings, {name: each.numel() for name, each in model.named_parameters()}, world=known.world)
        trained = [each.numel() for each in model.parameters() if each.requires_grad]
        if settings.offload == "nvme" and known.gpu is None:
            check_disk(settings, trained, known.world)
        told.append(f"{name} trains {sum(trained):,} of {sum(each.numel() for each in model.parameters()):,}")
    return f"{known.world} ranks, ZeRO-{settings.zero_stage}, {settings.precision}; {'; '.join(told)}"


def samples(known: Known) -> str | InPart:
    """Does every sample of the first steps load? All are read by their digests first, then decoded and packed as time
    allows."""
    from pipelines.first_packs import FirstPacks

    assert known.store is not None and known.dataset is not None and known.processor is not None
    looks = [
        FirstPacks(
            config=known.config,
            dataset=known.dataset,
            store=known.store,
            processor=known.processor,
            stage=stage,
            steps=known.steps,
        )
        for stage in known.stages
    ]
    read = [look.read(known.read_seconds / len(looks)) for look in looks]
    told, whole = [], True
    for look, (packs, clips) in zip(looks, read, strict=True):
        batches = known.batches[look.stage.name] = list(look.load(known.seconds / len(looks)))
        every = len(look.places)
        whole = whole and packs == len(batches) == every
        told.append(
            f"{look.stage.name}: {clips} samples in {packs} of {every} packs read by their digests, {len(batches)} of "
            f"{every} packs decoded"
        )
    return "; ".join(told) if whole else InPart("; ".join(told))


def modules(known: Known) -> str | InPart:
    """Do all packs, null packs and packs without a medium call the same modules in the same order?"""
    from deemo_dist.planning.train.order import module_order, parting, signature
    from pipelines.first_packs import one_of_each, shown, weight_of

    assert known.processor is not None
    told, whole = [], True
    for stage in known.stages:
        packs = [known.processor.null_pack(), *known.batches[stage.name]]
        distinct = list({signature(pack): pack for pack in packs}.values())
        distinct.sort(key=weight_of)
        ends = time.perf_counter() + known.seconds / len(known.stages)
        orders: list[tuple[str, ...]] = []
        for pack in one_of_each(distinct):
            if len(orders) >= len(set(map(shown, distinct))) and time.perf_counter() > ends:
                break
            orders.append(module_order(known.models[stage.name], pack))
            if apart := parting([orders[0], orders[-1]]):
                raise TrainingError(
                    f"stage {stage.name}: packs call different modules, so ZeRO-3 ranks would hang: {apart}",
                    hint="call every encoder once for every pack, on a null medium where there is none",
                )
        whole = whole and len(orders) == len(distinct)
        told.append(f"{stage.name}: {len(orders[0])} calls, alike in {len(orders)} of {len(distinct)} kinds of pack")
    return "; ".join(told) if whole else InPart("; ".join(told))


def memory(known: Known) -> str:
    """Do the largest pack's step, the checkpoints and the export fit into the device's and the host's memory?"""
    from deemo_dist.planning.train.capacity import stage_memory
    from deemo_dist.planning.train.memory import export_bytes
    from deemo_dist.planning.train.roofline import Cluster
    from pipelines.room import check_export, here, within

    assert known.processor is not None
    place = here(known.config, known.world, known.gpu)
    cluster = Cluster(gpu=place.gpu, network=place.network, ranks=known.world, per_node=place.per_node)
    shapes = [_shape(known, each, on_gpu=place.on_gpu) for each in known.stages]
    plans = {shape.name: stage_memory(shape, cluster) for shape in shapes}
    told = [within(limit, plans) for limit in place.limits]
    told.append(check_export(place, max(export_bytes(shape.parameters, shape.zero) for shape in shapes)))
    return "; ".join(told)


def _shape(known: Known, stage: "PlannedStage", *, on_gpu: bool) -> Any:
    from pipelines.plan_train import stage_shape
    from pipelines.workload import of_plan

    assert known.processor is not None
    work = of_plan(stage, known.processor, "")
    return stage_shape(known.config, stage.name, work, on_gpu=on_gpu, model=known.models[stage.name])[0]


def answers(known: Known) -> str:
    """Can the tokenizer score every answer of every closed task, and tell them apart?"""
    assert known.processor is not None
    asked = {name for stage in known.config.stages.values() for name in stage.tasks} | {known.config.evaluation.task}
    closed = {name: task for name, task in known.config.tasks.items() if name in asked and task.choices}
    for name, task in closed.items():
        _scorable(name, task, known.processor.tokenizer)
    return "; ".join(f"{name}: {', '.join(task.choices)}" for name, task in closed.items()) or "no closed task"


def _scorable(name: str, task: TaskConfig, tokenizer: Any) -> None:
    spelled: dict[tuple[int, ...], str] = {}
    for choice in task.choices:
        ids = tuple(tokenizer(choice, add_special_tokens=False).input_ids)
        if not ids or (tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids):
            raise ConfigError(
                f"task {name}: the tokenizer cannot spell the answer '{choice}'",
                hint="another word for it in tasks.NAME.choices, or another model.tokenizer",
            )
        if ids in spelled:
            raise ConfigError(f"task {name}: '{choice}' and '{spelled[ids]}' are the same tokens", hint="rename one")
        spelled[ids] = choice
