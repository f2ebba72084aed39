"""The model card that goes with every exported model (the Hub's format: README.md with a head of YAML)."""

from collections.abc import Sequence

from deemo_dist.config import ModelConfig, RunConfig
from deemo_dist.dataset import DatasetInfo
from deemo_dist.weights.registry import find
from pipelines.notice import NOTICE
from pipelines.stages import PlannedStage, learned_from

PINNED = "weights:"

_CARD = """\
---
library_name: transformers
license: other
tags: [emotion-recognition, multimodal, de-identified]
---
# {name}: DEEMO-LLaMA, size {size}

A multimodal language model that recognises and explains the emotion expressed in *de-identified* clips: masked video,
disguised or removed voice, body cues, scrubbed transcript. It is not made for clips with faces and voices in the clear.

## Before you use it

{notice}

It learned from pseudonymous data and may retain something of them: give it the same protection.

## What it learned from

| dataset | samples | policy | digest |
| --- | --- | --- | --- |
{datasets}

A dataset's audit report says what was found of faces, voices and names in it.

| stage | tasks | examples | steps |
| --- | --- | --- | --- |
{stages}

## Parts

{parts}

## Use

```python
import deemo_dist.model  # registers the Auto classes
from transformers import AutoModelForCausalLM, AutoProcessor

model, processor = AutoModelForCausalLM.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
```

`deemo predict` does it for samples and raw clips. The run is in `run.yaml`; how well it does, and for whom, is in the
run's report (`deemo evaluate`), not here.
"""


def model_card(config: RunConfig, info: DatasetInfo, stages: Sequence[PlannedStage]) -> str:
    """The card of a run's model, as Markdown. ``info``: the run's own dataset, where the stages do not say theirs."""
    rows = [
        f"| {stage.name} | {', '.join(stage.config.tasks)} | {len(stage.examples)} | {stage.plan.steps} |"
        for stage in stages
    ]
    sources = [dataset.info for dataset in learned_from(stages)] or [info]
    return _CARD.format(
        name=config.name,
        size=config.model.name,
        notice="\n".join(f"- {sentence}" for sentence in NOTICE),
        datasets="\n".join(_source(each) for each in sources),
        stages="\n".join(rows),
        parts="\n".join(f"- {part}" for part in _parts(config.model)),
    )


def _source(info: DatasetInfo) -> str:
    """A dataset's row."""
    strength = "strong" if info.header.strength == "strong" else "**weak: not de-identified**"
    policy = f"{info.header.policy}, {strength}"
    return f"| {info.name}/{info.version} | {info.samples} | {policy} | `{info.dataset_digest}` |"


def _parts(model: ModelConfig) -> list[str]:
    """Where each tower comes from, and on what terms."""
    return [
        f"{role}: {_origin(source)}"
        for role, source in (
            ("language", model.llm.source),
            ("vision", model.vision.source),
            ("audio", model.audio.source),
        )
    ]


def _origin(source: str) -> str:
    if source == "random":
        return "random weights, trained here from nothing"
    if not source.startswith(PINNED):
        return f"`{source}`, on its own terms"
    weight = find(source.removeprefix(PINNED))
    learned = f"; learned from {weight.trained_on}" if weight.trained_on else ""
    return f"`{weight.name}` ({weight.origin}): {weight.licence}{learned}; uploaded by {weight.uploaded_by}"
