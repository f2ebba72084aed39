"""The model of a run: the base overlaid with what each stage trained, as a transformers folder in the store."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deemo_dist.config import RunConfig, shareable, to_yaml
from deemo_dist.errors import ModelError
from deemo_dist.storage import Store
from deemo_dist.weights import use
from pipelines.lineage import refuse_base_of
from pipelines.stages import PlannedStage

if TYPE_CHECKING:
    from deemo_dist.training import Commit

MODEL_FILE = "config.json"
CARD_FILE = "README.md"
ADAPTERS = "-adapters"
"""Ends the place of a model whose adapters are apart."""


def load_base(config: RunConfig) -> Any:
    """The model before any stage: random parts from the seed, pretrained parts from their source."""
    from deemo_dist.model import build_model

    use(config.weights)
    return build_model(config.model, config.seed)


def export_place(config: RunConfig, last: PlannedStage, *, adapters: bool = False) -> str:
    """Key prefix of a run's model: named by the key of its last stage, so that another training is another place."""
    return f"models/{config.name}/{last.key[:12]}{ADAPTERS if adapters else ''}"


def trained_model(config: RunConfig, store: Store, commits: Sequence["Commit"], stages: Sequence[PlannedStage]) -> Any:
    """The base with what ``stages`` trained (their final ``commits``), adapters apart. Raises ``ModelError``: a state
    of another model; ``CorruptDataError``."""
    from deemo_dist.training import apply_rules, load_trained

    model = load_base(config)
    *before, last = (stage.config.trains for stage in stages)
    apply_rules(model, last, before=before)
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
    whose digests ``config.json`` holds. Its values are of the precision that the engine trained in.

    ``config.json`` is put last: a folder that has it is whole. Raises ``ModelError``: no stage trained adapters, or the
    base is not the one that they were trained over.
    """
    folder = Path(config.storage.cache) / place
    if store.exists(f"{place}/{MODEL_FILE}"):
        return fetch_model(store, place, folder)
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
    model = trained_model(config, store, commits, stages)
    if adapters and not is_adapted(model):
        raise ModelError(f"no stage of '{config.name}' trains adapters", hint="export it without --adapters")
    if not adapters:
        merge_adapters(model)
    if config.engine.precision == "bf16":
        cast_parameters(model, torch.bfloat16)
    model.config.digests = base
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    build_processor(config.model).save_pretrained(folder)
    (folder / "run.yaml").write_text(to_yaml(shareable(config)))
    (folder / CARD_FILE).write_text(card)
    for path in sorted(folder.rglob("*"), key=lambda path: path.name == MODEL_FILE):
        if path.is_file():
            store.upload(path, f"{place}/{path.relative_to(folder)}")
    return folder


def fetch_model(store: Store, place: str, folder: Path) -> Path:
    """A local folder with the model at ``place``. Raises ``ModelError`` when there is none."""
    keys = store.list(f"{place}/")
    if f"{place}/{MODEL_FILE}" not in keys:
        raise ModelError(f"there is no model at {store.uri(place)}", hint="train it: deemo train -c RUN")
    for key in keys:
        path = folder / key.removeprefix(f"{place}/")
        if not path.is_file() or path.stat().st_size != store.size(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                part = Path(temporary) / "part"
                store.download(key, part)
                part.replace(path)
    return folder
