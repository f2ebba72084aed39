"""``deemo demo``: the whole way on one machine, on generated clips, with a summary at its end."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from deemo_dist import deid, samples
from deemo_dist.config import RunConfig, load
from deemo_dist.console import console
from deemo_dist.dataset import import_clips, open_dataset, write_manifest
from deemo_dist.errors import ConfigError
from deemo_dist.records import Clip
from deemo_dist.storage import open_store
from deemo_dist.tracking import ui_command
from deemo_dist.weights import fetch_all, total_size, use
from pipelines.curves import read_result
from pipelines.evaluate import EvaluationResult, run_evaluate
from pipelines.ingest import make_samples
from pipelines.preprocess import run_preprocess
from pipelines.stages import plan_stages
from pipelines.tracked import tracking_folder
from pipelines.train import run_train

WEIGHTS = (*deid.WEIGHTS, *samples.WEIGHTS)
RUBBISH = {
    "Empty Tape.mp4": b"",
    "notes of Maria Keller.mp4": b"This is a text file.\n",
    "Broken Reel.mp4": b"\0\0\0 ftypmp42",
}
BUCKET = "deemo-demo"


class Phases:
    """Names each phase as it begins and keeps its wall seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str, what: str) -> Iterator[None]:
        """One phase."""
        console.rule(f"{len(self.seconds) + 1}  {name}: {what}", align="left")
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 2)


def run_demo(
    run: str, overrides: Sequence[str], *, storage: str, build: Path, subjects: int = 75, clips: int = 8
) -> dict[str, Any]:
    """Run everything under ``build`` and write ``summary.json`` there; returns it.

    Raises ``ConfigError`` for another ``storage`` than file or s3, and whatever a phase raises.
    """
    if storage not in ("file", "s3"):
        raise ConfigError(f"there is no storage '{storage}'", hint="file, or s3")
    build.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # two ranks of a tiny model, whatever GPUs there are
    with _server(storage, build) as places:
        local = [f"storage.cache={build / 'cache'}", *places, *overrides]
        return _demo(run, local, storage=storage, build=build, subjects=subjects, clips=clips)


@contextmanager
def _server(storage: str, build: Path) -> Iterator[list[str]]:
    """Where the store is: a folder, or a real S3 server on loopback that lives as long as the demo."""
    if storage == "file":
        yield [f"storage.root=file://{(build / 'store').resolve()}"]
        return
    from cluster.local.s3 import LocalS3

    with LocalS3(build / "s3", bucket=BUCKET) as server:
        before = dict(os.environ)
        os.environ.update(server.environment())
        try:
            yield [f"storage.root=s3://{BUCKET}/project", f"storage.endpoint={server.endpoint}"]
        finally:
            os.environ.clear()
            os.environ.update(before)


def _demo(run: str, overrides: list[str], *, storage: str, build: Path, subjects: int, clips: int) -> dict[str, Any]:
    config = load(run, overrides)
    phase = Phases()
    use(config.weights)
    with phase("weights", _download_words()):
        fetch_all(WEIGHTS)
    with phase("samples", f"{subjects} generated subjects x {clips} clips, with faces, voices and names"):
        raw = _samples(build / "raw", subjects=subjects, clips=clips, seed=config.seed)
    with phase("ingest", "a manifest of the raw clips"):
        manifest = _manifest(raw, config, upload=storage == "s3")
    overrides = [*overrides, f"data.manifest={manifest}"]
    config = load(run, overrides)
    with phase("preprocess", "faces masked, voices disguised, names removed"):
        run_preprocess(config)
    with phase("train", f"{len(config.stages)} stages on {config.engine.ranks} ranks, ZeRO-{config.engine.zero_stage}"):
        run_train(run, overrides)
    with phase("evaluate", "held-out subjects, each modality alone, a report"):
        result = run_evaluate(config)
    report = Path(shutil.copy(result.report, build / "report.html"))
    summary = _summary(config, replace(result, report=str(report)), phase.seconds)
    (build / "summary.json").write_text(json.dumps(summary, indent=1))
    _farewell(config, summary, build)
    return summary


def _download_words() -> str:
    size = total_size(WEIGHTS)
    return f"downloads about {size / 1e6:.0f} MB of pinned files" if size else "all here"


def _samples(raw: Path, *, subjects: int, clips: int, seed: int) -> Path:
    """The generated clips, and beside them three files that are no clips; the manifest of both."""
    make_samples(raw, subjects=subjects, clips=clips, seed=seed, workers=os.cpu_count() or 1, real=False)
    rows = (raw / "manifest.jsonl").read_text()
    for name, content in RUBBISH.items():
        (raw / name).write_bytes(content)
        rows += json.dumps({"uri": name, "subject": "nobody", "split": "train", "source": "rubbish"}) + "\n"
    everything = raw / "everything.jsonl"
    everything.write_text(rows)
    return everything


def _manifest(source: Path, config: RunConfig, *, upload: bool) -> str:
    """The manifest's URI; with ``upload`` the clips are put into the store first, as raw clips in a bucket are."""
    store = open_store(config.storage)
    clips = import_clips(str(source), config.storage)
    if upload:
        there = set(store.list("raw/"))
        clips = [_uploaded(clip, store, there) for clip in clips]
    key, _ = write_manifest(clips, store)
    return store.uri(key)


def _uploaded(clip: Clip, store: Any, there: set[str]) -> Clip:
    path = Path(clip.uri.removeprefix("file://"))
    key = f"raw/{path.name}"
    if key not in there:
        store.upload(path, key)
    return replace(clip, uri=store.uri(key))


def _summary(config: RunConfig, result: EvaluationResult, seconds: dict[str, float]) -> dict[str, Any]:
    """What the demo is judged by, read from what it wrote."""
    from deemo_dist.model import build_processor

    store = open_store(config.storage)
    dataset = open_dataset(store, config.data.name, config.data.version)
    stages = plan_stages(config, dataset, build_processor(config.model), store)
    kept = ("name", "ranks", "zero_stage", "steps", "first_loss", "last_loss", "trainable_params")
    results = [read_result(store, stage.prefix) for stage in stages]
    return {
        "clips_in": dataset.info.clips,
        "samples_written": dataset.info.samples,
        "clips_rejected": dataset.info.rejected,
        "ledger_rows": len(dataset.ledger),
        "shards": dataset.info.shards,
        "dataset_digest": dataset.info.dataset_digest,
        "stages": [{name: row[name] for name in kept} for row in results],
        "accuracy": result.accuracy,
        "weighted_f1": result.weighted_f1,
        "macro_f1": result.macro_f1,
        "chance": result.chance,
        "ablation": dict(result.ablation),
        "residual_face_rate": result.residual_face_rate,
        "mlflow": {
            "parent_run_id": result.mlflow.get("parent"),
            "child_run_ids": [run_id for name, run_id in result.mlflow.items() if name != "parent"],
        },
        "report": result.report,
        "wall_seconds": seconds,
    }


def _farewell(config: RunConfig, summary: dict[str, Any], build: Path) -> None:
    """What there is now, and how to look at it."""
    console.rule("done", align="left")
    alone = ", ".join(f"{name} {value:.2f}" for name, value in summary["ablation"].items())
    console.print(f"accuracy {summary['accuracy']:.3f} on held-out subjects (chance {summary['chance']:.2f}); {alone}")
    console.print(
        f"{summary['samples_written']} of {summary['clips_in']} clips written, {summary['clips_rejected']} rejected; "
        f"residual faces {summary['residual_face_rate']:.4f}"
    )
    console.print(f"summary   {build / 'summary.json'}", soft_wrap=True)
    console.print(f"report    {summary['report']}", soft_wrap=True)
    console.print(
        f"MLflow    {Path(sys.executable).parent}/{ui_command(config.tracking, tracking_folder(config))}",
        soft_wrap=True,
    )
