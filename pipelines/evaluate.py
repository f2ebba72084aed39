"""``deemo evaluate``: the trained model on held-out subjects -> scores -> report."""

import datetime
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deemo_dist.config import RunConfig, config_digest, shareable, to_yaml
from deemo_dist.console import logger
from deemo_dist.dataset import Dataset, Examples, examples_digest
from deemo_dist.digests import canonical_json, digest_of, plain
from deemo_dist.errors import NotFoundError
from deemo_dist.evaluation import (
    BODY,
    MODALITIES,
    Evaluation,
    Explanation,
    ReportData,
    StageCurve,
    deid_figures,
    write_report,
)
from deemo_dist.storage import Store, open_store
from pipelines.curves import read_curve
from pipelines.datasets import open_allowed
from pipelines.exam import Exam, asked_of
from pipelines.export import export_place, fetch_model, model_name
from pipelines.heldout import refuse_shared
from pipelines.preview import film_of, pictures_of
from pipelines.stages import PlannedStage, learned_from, plan_stages, run_prefix
from pipelines.tracked import open_tracker

RESULT_VERSION = 2
ALONE = (*MODALITIES, BODY)


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """The figures that a summary needs; ``report``: the local file; ``ablation``: accuracy of each
    modality alone, and of ``body``, video and cues together; ``chance``: of always naming the most frequent truth."""

    accuracy: float
    weighted_f1: float
    macro_f1: float
    chance: float
    ablation: Mapping[str, float]
    residual_face_rate: float
    parse_failures: int | None
    report: str
    mlflow: Mapping[str, str]
    version: int = RESULT_VERSION


def run_evaluate(config: RunConfig) -> EvaluationResult:
    """Score the run's model and write its report; an evaluation that was done with the same key is not done again.

    Raises ``DatasetError`` where somebody is judged whom a stage learned from.
    """
    from deemo_dist.model import build_processor

    store = open_store(config.storage)
    dataset = open_allowed(config, store)
    stages = plan_stages(config, dataset, build_processor(config.model), store)
    asked = asked_of(config, dataset)
    for stage in stages:
        for examples in asked.values():
            refuse_shared(config.evaluation.split, examples, stage.examples, stage.name)
    place = export_place(config, stages[-1])
    prefix = f"{run_prefix(config)}/evaluation-{evaluation_key(config, model_name(store, place), dataset, asked)[:12]}"
    done = done_before(config, store, prefix)
    if done is not None:
        logger.info("evaluate: done before, %s", done.report)
        return done
    folder = fetch_model(store, place, Path(config.storage.cache) / place)
    result = _evaluate(config, store, dataset, stages, Exam(config, store, dataset, asked, folder), prefix)
    store.put(f"{prefix}/result.json", canonical_json(result))
    return result


def evaluation_key(config: RunConfig, model: str, dataset: Dataset, asked: Mapping[str, Examples]) -> str:
    """Digest of all that an evaluation depends on: the ``model`` by name, what it is asked, and how it is judged."""
    return digest_of(
        {
            "version": RESULT_VERSION,
            "model": model,
            "evaluation": config_digest(config.evaluation),
            "seed": config.seed,
            "dataset": dataset.digest,
            "examples": {task: examples_digest(examples) for task, examples in asked.items()},
        }
    )


def done_before(config: RunConfig, store: Store, prefix: str) -> EvaluationResult | None:
    """The result that is stored under ``prefix``, its report fetched where another machine wrote it; None where there
    is none, or no report of it."""
    try:
        result = EvaluationResult(**json.loads(store.get(f"{prefix}/result.json")))
        if Path(result.report).is_file():
            return result
        page = store.get(f"{prefix}/report.html")
    except NotFoundError:
        return None
    report = _report_place(config, prefix)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_bytes(page)
    return replace(result, report=str(report))


def _report_place(config: RunConfig, prefix: str) -> Path:
    return Path(config.storage.cache) / prefix / "report.html"


def _evaluate(
    config: RunConfig,
    store: Store,
    dataset: Dataset,
    stages: Sequence[PlannedStage],
    exam: Exam,
    prefix: str,
) -> EvaluationResult:
    started = time.monotonic()
    evaluation = exam.recognition()
    explanations = exam.explanations(evaluation)
    seconds = {"evaluate": time.monotonic() - started}
    report = _report_place(config, prefix)
    data = _report_data(config, store, dataset, stages, evaluation, explanations, seconds)
    write_report(data, report)  # whatever fails here is not told of the training's runs, which are done
    with open_tracker(config, store) as tracker:
        parent = tracker.parent()
        children = [tracker.stage(stage.name, training=stage.key) for stage in stages]
        ids = tracker.run_ids()
        write_report(replace(data, mlflow=ids), report)
        parent.log_metrics(_figures(evaluation))
        parent.log_metrics({"residual_face_rate": data.deid.residual_face_rate})
        parent.log_artifact(report, "report")
        for run in (*children, parent):
            run.finish()
    store.put(f"{prefix}/report.html", report.read_bytes())
    store.put(f"{prefix}/predictions.json", canonical_json(plain(list(evaluation.predictions))))
    likelihood = evaluation.likelihood
    return EvaluationResult(
        accuracy=likelihood.accuracy.value,
        weighted_f1=likelihood.weighted_f1.value,
        macro_f1=likelihood.macro_f1.value,
        chance=likelihood.chance_majority,
        ablation={row.name: row.recognition.accuracy.value for row in evaluation.ablation if row.name in ALONE},
        residual_face_rate=data.deid.residual_face_rate,
        parse_failures=evaluation.generation.parse_failures if evaluation.generation else None,
        report=str(report),
        mlflow=ids,
    )


def _figures(evaluation: Evaluation) -> dict[str, float]:
    likelihood = evaluation.likelihood
    figures = {
        "accuracy": likelihood.accuracy.value,
        "weighted_f1": likelihood.weighted_f1.value,
        "macro_f1": likelihood.macro_f1.value,
    }
    if evaluation.generation:
        figures["generation_accuracy"] = evaluation.generation.accuracy.value
        figures["parse_failures"] = float(evaluation.generation.parse_failures)
    return figures | {f"ablation/{row.name}": row.recognition.accuracy.value for row in evaluation.ablation}


def _report_data(
    config: RunConfig,
    store: Store,
    dataset: Dataset,
    stages: Sequence[PlannedStage],
    evaluation: Evaluation,
    explanations: tuple[Explanation, ...],
    seconds: Mapping[str, float],
) -> ReportData:
    rows = dataset.split(config.evaluation.split)
    info = dataset.info
    return ReportData(
        title="DEEMO-LLaMA: emotion from de-identified clips",
        run_name=config.name,
        created=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        dataset=f"{info.name} {info.version}",
        model=config.model.name,
        evaluation=evaluation,
        deid=deid_figures(dataset.index, dataset.ledger),
        stages=tuple(_curve(store, stage) for stage in stages),
        pictures=pictures_of(rows, store, dataset, count=config.evaluation.preview_clips),
        film=film_of(rows, store, dataset, count=config.evaluation.preview_clips),
        explanations=explanations,
        config_yaml=to_yaml(shareable(config)),
        digests={
            "manifest": info.header.manifest_digest,
            "dataset": info.dataset_digest,
            "annotations": info.annotations_digest,
            "policy": info.header.policy_digest,
            "config": config_digest(config),
            **{_source(each): each.digest for each in learned_from(stages) if each.prefix != dataset.prefix},
            **{f"plan of {stage.name}": stage.plan.digest for stage in stages},
            **{f"stage {stage.name}": stage.key for stage in stages},
        },
        seconds=dict(seconds),
        synthetic=_synthetic((dataset, *learned_from(stages))),
        notes=_weak(stages),
    )


def _source(dataset: Dataset) -> str:
    """What a dataset that the model learned from is called, with its policy."""
    header = dataset.info.header
    return f"learned from {dataset.info.name}/{dataset.info.version} ({header.policy}, {header.strength})"


def _weak(stages: Sequence[PlannedStage]) -> tuple[str, ...]:
    """A sentence about each dataset that was learned from and is not de-identified."""
    infos = [each.info for each in learned_from(stages) if each.info.header.strength != "strong"]
    return tuple(
        f"The model learned from {info.name}/{info.version}, which is weak: not de-identified." for info in infos
    )


def _curve(store: Store, stage: PlannedStage) -> StageCurve:
    rows = read_curve(store, stage.prefix)
    seen = [row for row in rows if row["loss"] is not None]
    held = [row for row in rows if row["validation_loss"] is not None]
    facts: dict[str, Any] = {"examples": len(stage.examples), "steps": stage.plan.steps}
    return StageCurve(
        name=stage.name,
        steps=tuple(row["step"] for row in seen),
        losses=tuple(row["loss"] for row in seen),
        validation_steps=tuple(row["step"] for row in held),
        validation_losses=tuple(row["validation_loss"] for row in held),
        facts={name: str(value) for name, value in facts.items()},
    )


def _synthetic(datasets: Sequence[Dataset]) -> str:
    """One sentence about made-up data, where there is any."""
    sources = {source for each in datasets for source in each.index.column("source").unique().to_pylist()}
    made = sorted(source for source in sources if source.startswith(("generated", "synthetic")))
    if not made:
        return ""
    return f"Contains clips that are not recordings of a person's emotion: {', '.join(made)}."
