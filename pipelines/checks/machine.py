"""Does this machine have what the run needs? Libraries, the store, MLflow, room for raw clips, weights."""

import os
import time
from importlib import metadata
from pathlib import Path

from deemo_dist.config import ModelConfig
from deemo_dist.dataset import read_manifest
from deemo_dist.errors import AlreadyExistsError, ConfigError, DatasetError, ModelError, StorageError
from deemo_dist.storage import Store, open_store
from pipelines.checks.known import Known

PINNED = ("torch", "transformers", "deepspeed", "peft", "mlflow", "pyarrow", "omegaconf", "ray")


def versions(known: Known) -> str:
    """Are the libraries those the project pins?"""
    from packaging.requirements import Requirement

    wanted = {each.name: each for each in map(Requirement, metadata.requires("deemo-dist") or ()) if not each.marker}
    found = {name: metadata.version(name) for name in PINNED}
    for name, version in found.items():
        if name in wanted and not wanted[name].specifier.contains(version, prereleases=True):
            raise ConfigError(
                f"{name} is {version}, the project needs {wanted[name].specifier}",
                hint=f"pip install '{name}{wanted[name].specifier}', or make a new environment by `make setup`",
            )
    return ", ".join(f"{name} {version}" for name, version in found.items())


def storage(known: Known) -> str:
    """Can the store be read, written and tidied, and does it refuse to put twice what is to be put once?"""
    store = open_store(known.config.storage)
    key = f"runs/{known.config.name}/doctor/{os.getpid()}-{time.time_ns()}"
    started = time.perf_counter()
    store.put_new(key, b"deemo")
    same, once = store.get(key) == b"deemo", _refused_again(store, key)
    store.delete(key)
    if not once:
        raise StorageError(
            f"{store.root} takes a second object under a key that is taken: its server ignores If-None-Match",
            hint="take a server or release that honours it: receipts, commits and reservations rest on the first one",
        )
    if not same:
        raise DatasetError(f"{store.uri(key)} does not give back what was written", hint="look at the storage server")
    known.store = store
    return f"{store.root}: written, read and deleted in {1000 * (time.perf_counter() - started):.0f} ms"


def _refused_again(store: Store, key: str) -> bool:
    try:
        store.put_new(key, b"other")
    except AlreadyExistsError:
        return True
    return False


def tracking(known: Known) -> str:
    """Does MLflow answer?"""
    from deemo_dist.tracking import check
    from pipelines.tracked import tracking_folder

    settings = known.config.tracking
    if not settings.enabled:
        return "off"
    check(settings, tracking_folder(known.config))
    return "an embedded MLflow on this machine" if settings.uri is None else "the server answers"


def raw(known: Known) -> str:
    """Does every worker's raw clip fit where it is kept while it is worked on?"""
    from pipelines.private import check_room, private_base

    config, where = known.config, known.config.execution
    if not config.data.manifest:
        return "no data.manifest: nothing is preprocessed"
    if where.address is not None:
        return "workers are on the nodes of a Ray cluster, which are not looked at"
    try:
        clips = read_manifest(config.data.manifest, config.storage)
    except StorageError:
        return "the manifest cannot be read from here: nothing is known of raw clips"
    base, largest = private_base(where.raw_folder), max((clip.size_bytes for clip in clips), default=0)
    check_room(base, where.workers * largest, f"the largest clip at each of {where.workers} workers")
    return f"{where.workers} workers' largest clips fit into {base}"


def weights(known: Known) -> str:
    """Are the model's weights here, under their digests?"""
    from deemo_dist.weights import fetch, use

    use(known.config.weights)
    told = []
    for source in _sources(known.config.model):
        if source.startswith("weights:"):
            fetch(source.removeprefix("weights:"))
            told.append(f"{source} has its digest")
        elif source.startswith(("/", "./", "../")) and not Path(source).exists():
            raise ModelError(f"there are no weights at {source}", hint="correct model.llm, vision, audio or tokenizer")
        else:
            told.append(f"{source} is {'here' if Path(source).exists() else 'looked up when the model is built'}")
    return "; ".join(told) or "none: every part starts from random weights"


def _sources(model: ModelConfig) -> list[str]:
    named = (model.llm.source, model.vision.source, model.audio.source, model.tokenizer)
    return sorted({source for source in named if source not in ("random", "builtin")})
