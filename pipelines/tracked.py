"""What a run tells MLflow, and where its ids are kept."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from deemo_dist.config import RunConfig, config_digest, shareable, to_yaml
from deemo_dist.console import logger
from deemo_dist.dataset import Dataset
from deemo_dist.digests import plain
from deemo_dist.errors import AlreadyExistsError, DeemoError, TrackingError
from deemo_dist.storage import Store, open_store
from deemo_dist.tracking import OTHERS, Depot, TrackedRun, Tracker, replay
from deemo_dist.training import CommitInfo, StageResult, StageSpec, StepReport
from pipelines.export import fetch_model
from pipelines.stages import PlannedStage, run_prefix

LAST_WORD_SECONDS = 15.0


def reserver(store: Store, config: RunConfig) -> Callable[[str, str], str]:
    """Put-if-absent of a name's value under the run: whoever comes first decides, every later life gets the same."""

    def reserve(name: str, proposal: str) -> str:
        key = _reserved_key(config, name)
        try:
            store.put_new(key, proposal.encode())
        except AlreadyExistsError:
            return store.get(key).decode()
        return proposal

    return reserve


def _reserved_key(config: RunConfig, name: str) -> str:
    return f"{run_prefix(config)}/ids/{name}.txt"


def tracking_folder(config: RunConfig) -> Path:
    """Where the embedded MLflow and the spool of a run live on this machine."""
    return Path(config.storage.cache) / "tracking"


def spool_folder(config: RunConfig) -> Path:
    """Where the records of a run wait for MLflow on this machine."""
    return tracking_folder(config) / "spool" / config.name


def depot(config: RunConfig, store: Store) -> Depot:
    """Where the run's storage keeps the records that wait for MLflow, for any machine."""
    return Depot(store, f"{run_prefix(config)}/spool")


def open_tracker(
    config: RunConfig, store: Store, *, attempt: int = 0, hurried: Callable[[], bool] = lambda: False
) -> Tracker:
    """The tracker of a run, the same parent and stages at every restart. ``hurried``: whether a stop was asked for."""
    folder = tracking_folder(config)
    return Tracker.open(
        config.tracking,
        spool_dir=spool_folder(config),
        folder=folder,
        run_name=config.name,
        reserve=reserver(store, config),
        attempt=attempt,
        hurried=hurried,
        depot=depot(config, store),
        fetch=partial(fetch_model, store),
    )


def run_replay(config: RunConfig) -> int:
    """Send what waits in a run's spool on this machine and on the run's storage, what was refused here too; how many
    records went. Raises ``TrackingError``, also for a run that nothing is known of."""
    store = open_store(config.storage)
    if not spool_folder(config).exists() and not store.exists(_reserved_key(config, "tracking_key")):
        raise TrackingError(
            f"run '{config.name}' has told MLflow nothing yet, from here or under {store.root}",
            hint="is it the run's configuration, with its storage.root?",
        )
    return replay(
        spool_folder(config),
        config.tracking,
        folder=tracking_folder(config),
        reserve=reserver(store, config),
        depot=depot(config, store),
        fetch=partial(fetch_model, store),
    )


def tell_failed(config: RunConfig, *, killed: bool = False) -> None:
    """End what MLflow takes for running of a training that has failed: its first rank may have gone without a word.
    Where MLflow is away the word waits in the spool. Never raises; within seconds."""
    try:
        store = open_store(config.storage)
        if not config.tracking.enabled or not store.exists(_reserved_key(config, "tracking_key")):
            return
        others = [Path(key).stem for key in store.list(f"{run_prefix(config)}/ids/{OTHERS}")]
    except DeemoError as error:
        logger.warning("tracking: the run's end cannot be told (%s)", error.message)
        return
    tracker = open_tracker(config, store)
    tracker.lost([*config.stages, *others], "KILLED" if killed else "FAILED")
    tracker.close(LAST_WORD_SECONDS)


def describe_run(run: TrackedRun, config: RunConfig, dataset: Dataset, uri: str) -> None:
    """Params, digests and the dataset of the whole chain, and what preprocessing it cost by stage."""
    info = dataset.info
    shown = shareable(config)
    run.log_params(plain(shown))
    run.log_text(to_yaml(shown), "resolved.yaml", "config")
    run.set_tags(
        {
            "deemo.config_digest": config_digest(config),
            "deemo.dataset_digest": info.dataset_digest,
            "deemo.manifest_digest": info.header.manifest_digest,
            "deemo.policy_digest": info.header.policy_digest,
            "deemo.strength": info.header.strength,
        }
    )
    run.log_dataset(*_named(dataset), uri, profile=_profile(dataset))
    run.log_metrics({f"preprocess/{name}": value for name, value in info.statistics.items()})


def _named(dataset: Dataset) -> tuple[str, str]:
    """What MLflow calls a dataset, and its digest."""
    return f"{dataset.info.name}-{dataset.info.version}", dataset.digest


def _profile(dataset: Dataset) -> dict[str, int]:
    info = dataset.info
    return {"samples": info.samples, "rejected": info.rejected, "shards": info.shards, "bytes": info.bytes}


class TrackStage:
    """Brings a stage's steps to its MLflow child run."""

    def __init__(self, run: TrackedRun, stage: PlannedStage) -> None:
        self.run, self.stage = run, stage

    def on_start(self, spec: StageSpec, *, start_step: int, attempt: int, trainable: dict[str, int]) -> None:
        """Params, digests and the attempt."""
        self.run.log_params({"stage": plain(self.stage.config), "parameters": trainable, "steps": spec.total_steps})
        self.run.set_tags({"deemo.stage_key": spec.stage_key, "deemo.plan_digest": self.stage.plan.digest})
        self.run.set_tags({"deemo.attempt": attempt, "deemo.start_step": start_step})
        for dataset in self.stage.datasets:
            self.run.log_dataset(*_named(dataset), spec.store.uri(dataset.prefix), profile=_profile(dataset))

    def on_step(self, report: StepReport) -> None:
        """The figures of a step."""
        values: dict[str, float | None] = {
            "loss": report.loss,
            "grad_norm": report.grad_norm,
            "tokens_per_second": report.tokens_per_second,
            "samples_per_second": report.samples_per_second,
            "data_wait_seconds": report.data_wait_seconds,
            "step_seconds": report.step_seconds,
            "mfu": report.mfu,
            "padding": report.padding,
            "rss_bytes": report.rss_bytes,
            "peak_rss_bytes": report.peak_rss_bytes,
            "device_bytes": report.device_bytes or None,
            "skipped_steps": report.skipped_total,
            "validation_loss": report.validation_loss,
            "validation_seconds": report.validation_seconds or None,
            **{f"lr/{label}": rate for label, rate in report.lr.items()},
            **{f"grad_norm/{part}": norm for part, norm in report.part_norms.items()},
        }
        self.run.log_metrics({name: value for name, value in values.items() if value is not None}, step=report.step)

    def on_checkpoint(self, commit: CommitInfo) -> None:
        """The last committed step, to search by."""
        self.run.set_tags({"deemo.committed_step": commit.step})

    def on_end(self, result: StageResult) -> None:
        """How the stage ended."""
        self.run.set_tags({"deemo.commit": result.commit.key})
        self.run.log_metrics({"trainable_params": result.trainable_params, "stage_seconds": result.seconds})
