"""The model of a run: the base overlaid with what each stage trained, as a transformers folder in the store."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deemo_dist.config import RunConfig, shareable, to_yaml
from deemo_dist.digests import canonical_json, sha256_bytes
from deemo_dist.errors import ModelError, NotFoundError
from deemo_dist.storage import Store
from deemo_dist.weights import use
from pipelines.lineage import refuse_base_of, states_of
from pipelines.stages import PlannedStage

if TYPE_CHECKING:
    import torch

    from deemo_dist.training import Commit

MODEL_FILE = "config.json"
CARD_FILE = "README.md"
MADE_FILE = "made.json"
"""Of which states of its stages a model was made: a stage that was trained again gives another model."""
ADAPTERS = "-adapters"
"""Ends the place of a model whose adapters are apart."""


def load_base(config: RunConfig, dtype: "torch.dtype | None" = None) -> Any:
    """The model before any stage, in ``dtype`` (None: fp32): random parts from the seed, pretrained parts from their
    source."""
    import torch

    from deemo_dist.model import build_model

    use(config.weights)
    return build_model(config.model, config.seed, dtype=dtype or torch.float32)


def export_place(config: RunConfig, last: PlannedStage, *, adapters: bool = False) -> str:
    """Key prefix of a run's model: named by the key of its last stage, so that another training is another place."""
    return f"models/{config.name}/{last.key[:12]}{ADAPTERS if adapters else ''}"


def made_of(commits: Sequence["Commit"]) -> bytes:
    """What an exported model's ``MADE_FILE`` says: the states that it was made of."""
    return canonical_json({"states": states_of(commits)})


def is_exported(store: Store, place: str, commits: Sequence["Commit"]) -> bool:
    """Whether the model of these final commits is at ``place``; an export that does not say what it was made of is
    taken for theirs."""
    if not store.exists(f"{place}/{MODEL_FILE}"):
        return False
    said = _made(store, place)
    return said is None or said == made_of(commits)


def model_name(store: Store, place: str) -> str:
    """What tells the model at ``place`` from others that were, or will be, exported to it."""
    said = _made(store, place)
    return place if said is None else f"{place}/{sha256_bytes(said)}"


def _made(store: Store, place: str) -> bytes | None:
    try:
        return store.get(f"{place}/{MADE_FILE}")
    except NotFoundError:
        return None


def trained_model(
    config: RunConfig,
    store: Store,
    commits: Sequence["Commit"],
    stages: Sequence[PlannedStage],
    dtype: "torch.dtype | None" = None,
) -> Any:
    """The base in ``dtype`` (None: fp32) with what ``stages`` trained (their final ``commits``), adapters apart and in
    fp32. Raises ``ModelError``: a state of another model; ``CorruptDataError``."""
    from deemo_dist.model.adapters import widen_adapters
    from deemo_dist.training import apply_rules, load_trained

    model = load_base(config, dtype)
    *before, last = (stage.config.trains for stage in stages)
    apply_rules(model, last, before=before)
    widen_adapters(model)
    model.trained = load_trained(model, store, commits)
    return model


def export_model(
    config: RunConfig,
    store: Store,
    place: str,
    commits: Sequence["Commit"],
    stages: Sequence[PlannedStage],
    card: str,
    *,
    adapters: bool = False,
) -> Path:
    """Write model, processor, resolved configuration and model card to ``place``; the local folder that holds them.
    Adapters are merged into their layers, or with ``adapters`` kept beside the projectors, over a base by reference,
    whose digests ``config.json`` holds. Its values are of the precision that the engine trained in, and so is the model
    while it is put together: one copy of it is in memory, and a part.

    ``config.json`` is put last: a folder that has it is whole. Raises ``ModelError``: no stage trained adapters, or the
    base is not the one that they were trained over.
    """
    folder = Path(config.storage.cache) / place
    if is_exported(store, place, commits):
        return fetch_model(store, place, folder)
    store.delete(f"{place}/{MODEL_FILE}")
    shutil.rmtree(folder, ignore_errors=True)
    import torch
    from transformers.utils.logging import disable_progress_bar

    from deemo_dist.model import build_processor
    from deemo_dist.model.adapters import is_adapted, merge_adapters
    from deemo_dist.model.identity import base_digests
    from deemo_dist.model.sources import cast_parameters

    disable_progress_bar()
    use(config.weights)
    base = base_digests(config.model, config.seed)
    for stage, commit in zip(stages, commits, strict=True):
        refuse_base_of(config, stage.name, commit, base)
    dtype = torch.bfloat16 if config.engine.precision == "bf16" else torch.float32
    model = trained_model(config, store, commits, stages, dtype)
    if adapters and not is_adapted(model):
        raise ModelError(f"no stage of '{config.name}' trains adapters", hint="export it without --adapters")
    if not adapters:
        merge_adapters(model)
    cast_parameters(model, dtype)
    model.config.digests = base
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    build_processor(config.model).save_pretrained(folder)
    (folder / "run.yaml").write_text(to_yaml(shareable(config)))
    (folder / CARD_FILE).write_text(card)
    (folder / MADE_FILE).write_bytes(made_of(commits))
    for path in sorted(folder.rglob("*"), key=lambda path: path.name == MODEL_FILE):
        if path.is_file():
            store.upload(path, f"{place}/{path.relative_to(folder)}")
    return folder


def fetch_model(store: Store, place: str, folder: Path) -> Path:
    """A local folder with the model at ``place``. Raises ``ModelError`` when there is none."""
    keys = store.list(f"{place}/")
    if f"{place}/{MODEL_FILE}" not in keys:
        raise ModelError(f"there is no model at {store.uri(place)}", hint="train it: deemo train -c RUN")
    said = _made(store, place)
    if said is not None and (folder / MADE_FILE).is_file() and (folder / MADE_FILE).read_bytes() != said:
        shutil.rmtree(folder, ignore_errors=True)  # an earlier model's files may have the same sizes
    for key in sorted(keys, key=lambda key: not key.endswith(f"/{MADE_FILE}")):
        path = folder / key.removeprefix(f"{place}/")
        if not path.is_file() or path.stat().st_size != store.size(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                part = Path(temporary) / "part"
                store.download(key, part)
                part.replace(path)
    return folder
