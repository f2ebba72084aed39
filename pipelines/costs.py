"""What a stage's model computes, counted once a machine, and what a batch of it is worth in operations."""

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deemo_dist.config import RunConfig, config_digest
from deemo_dist.digests import digest_of, plain
from deemo_dist.planning.train.trace import Costs, Unit, measure
from deemo_dist.planning.train.work import Pack, model_flops

if TYPE_CHECKING:
    from torch import nn

    from deemo_dist.model import DeemoLlamaProcessor

VERSION = 1


def stage_costs(config: RunConfig, name: str, model: "nn.Module | None" = None) -> Costs:
    """The units of work of the stage's model (``model``, where it is made already); kept in ``storage.cache``, for the
    next process."""
    from pipelines.stage_model import rules_before, stage_model

    named = {"version": VERSION, "model": config_digest(config.model), "precision": config.engine.precision}
    rules = [*rules_before(config, name), config.stages[name].trains]
    digest = digest_of({**named, "trains": [plain(each) for each in rules]})
    path = Path(config.storage.cache) / "costs" / f"{digest[:24]}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        return _read(json.loads(path.read_text()))
    costs = measure(stage_model(config, name) if model is None else model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(asdict(costs), file)
    Path(file.name).replace(path)
    return costs


def _read(found: Mapping[str, Any]) -> Costs:
    units = {name: Unit(**found[name]) for name in ("clip", "window", "cue", "token", "pair", "label")}
    return Costs(frames=int(found["frames"]), **units)


def flops_of(costs: Costs, processor: "DeemoLlamaProcessor") -> Callable[[Mapping[str, Any]], float]:
    """A callable: operations that the model needs for a batch. Media that stand in for none are worth nothing, and so
    is a null pack."""
    video, audio, cues = processor.placeholder_ids

    def flops(batch: Mapping[str, Any]) -> float:
        labels = int((batch["labels"] != -100).sum())
        if not labels:
            return 0.0
        ids, bounds = batch["input_ids"], batch["cu_seqlens"]
        shown = [bool((ids == token).any()) for token in (video, audio, cues)]
        pack = Pack.of(
            (bounds[1:] - bounds[:-1]).tolist(),
            labels=labels,
            clips=len(batch["pixel_values"]) if shown[0] else 0,
            windows=len(batch["input_features"]) if shown[1] else 0,
            cues=len(batch["cue_values"]) if shown[2] else 0,
        )
        return model_flops(pack, costs)

    return flops
