"""What a stage's packs hold: of its dataset, or assumed before there is one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deemo_dist.config import ModelConfig, RunConfig, StageConfig
from deemo_dist.errors import ConfigError
from deemo_dist.planning.train.work import Pack, largest, mean

if TYPE_CHECKING:
    from deemo_dist.dataset import StepPlan
    from deemo_dist.model import DeemoLlamaProcessor
    from pipelines.stages import PlannedStage

LOOKED_AT = 32
"""Steps of a plan that are looked at."""
WINDOWS = 64
"""Windows of a plan whose packs are all looked at for the largest: a second or two."""
TEXT_TOKENS, LABEL_TOKENS, CLIP_SECONDS = 160, 48, 10.0
"""Of an example, where there is no dataset to count [ours]."""
SAMPLES = 2_060
"""Clips, where nothing is said: about as many as DEEMO-MER has."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """``mean`` and ``largest`` pack of a stage, its ``packs`` in all, where they come from (``source``), and how much
    more the dearest rank does in a micro-step than the mean pack (``slowest``, by number of ranks)."""

    mean: Pack
    largest: Pack
    packs: int
    source: str
    slowest: Callable[[int], float] = lambda ranks: 1.0


def planned(config: RunConfig) -> dict[str, Workload]:
    """Of the run's dataset, under its stages' step plans. Raises ``DeemoError`` where there is none."""
    from deemo_dist.model import build_processor
    from deemo_dist.storage import open_store
    from pipelines.datasets import open_allowed
    from pipelines.stages import plan_stages

    store = open_store(config.storage)
    dataset = open_allowed(config, store, ledger=False)
    processor = build_processor(config.model)
    name = f"dataset {config.data.name}/{config.data.version}"
    return {stage.name: of_plan(stage, processor, name) for stage in plan_stages(config, dataset, processor, store)}


def of_plan(stage: "PlannedStage", processor: "DeemoLlamaProcessor", source: str) -> Workload:
    """The packs of a planned stage. The largest is of all of its packs; where a plan has more than ``WINDOWS`` windows,
    of those of so many, and its budgets, which every pack keeps."""
    plan = stage.plan
    steps = sorted({round(place) for place in np.linspace(0, plan.steps - 1, min(LOOKED_AT, plan.steps))})
    found = [[pack_of(stage, numbers, processor) for numbers in plan.step(step)] for step in steps]
    packs = [pack for step in found for pack in step]
    return Workload(
        mean=mean(packs),
        largest=_largest(stage, processor, largest(packs)),
        packs=plan.packs,
        source=source,
        slowest=_balance(found),
    )


def _largest(stage: "PlannedStage", processor: "DeemoLlamaProcessor", looked_at: Pack) -> Pack:
    """What no pack passes in any of its counts; of clips with cues at most one an example, if the packs ``looked_at``
    show any."""
    plan, media = stage.plan, processor.media
    numbers = np.unique(np.linspace(0, plan.windows - 1, min(WINDOWS, plan.windows)).round().astype(int))
    most = np.max([_sums(plan, number) for number in numbers.tolist()], axis=0)
    if len(numbers) < plan.windows:
        most[:3] = np.maximum(most[:3], plan.settings.budget.as_integers())
    tokens, frames, audio_ms, pairs, labels, samples = most.tolist()
    return Pack(
        tokens=tokens,
        pairs=pairs,
        labels=labels,
        clips=frames // media.frames,
        windows=round(audio_ms / 1000 / media.audio_window),
        cues=samples if looked_at.cues else 0,
        samples=samples,
    )


def _sums(plan: "StepPlan", window: int) -> np.ndarray:
    """The most that any pack of a window holds of tokens, frames, audio milliseconds, tokens squared by example, target
    tokens, and examples: int64 [6]."""
    packs = plan.window(window)
    costs = plan.lengths.costs(packs.items)
    targets = plan.lengths.targets[packs.items].astype(np.int64)
    counts = np.column_stack([costs, costs[:, 0] ** 2, targets, np.ones_like(targets)])
    return np.asarray(np.add.reduceat(counts, packs.offsets[:-1], axis=0).max(axis=0))


def pack_of(stage: "PlannedStage", numbers: Sequence[int], processor: "DeemoLlamaProcessor") -> Pack:
    """What a pack of these examples holds."""
    lengths = stage.plan.lengths
    chosen = list(numbers)
    tokens = lengths.tokens[chosen].astype(np.int64)
    counts = [processor.counts(stage.examples[number]) for number in chosen]
    return Pack.of(
        tokens.tolist(),
        labels=int(lengths.targets[chosen].sum()),
        clips=sum(count.clips for count in counts),
        windows=sum(count.windows for count in counts),
        cues=sum(count.cues for count in counts),
    )


def _balance(steps: Sequence[Sequence[Pack]]) -> Callable[[int], float]:
    """Mean over micro-steps of the dearest pack's tokens, over the mean pack's: ZeRO-3's ranks wait for one another,
    and in a last micro-step that not every rank has a pack for, for as long."""
    tokens = [[pack.tokens for pack in step] for step in steps]
    average = float(np.mean([pack for step in tokens for pack in step]))

    def slowest(ranks: int) -> float:
        dearest = [max(step[start : start + ranks]) for step in tokens for start in range(0, len(step), ranks)]
        return float(np.mean(dearest)) / average

    return slowest


def assumed(config: RunConfig, stage: StageConfig, samples: int | None, why: str) -> Workload:
    """Packs full of like examples: a clip of 10 s with every medium that the stage's tasks show, 160 tokens of text at
    most.

    ``why``: what kept the dataset from being read. Raises ``ConfigError`` for a budget that holds no such example.
    """
    example = _example(config, stage)
    frames = config.model.frames * example.clips
    seconds = config.model.audio_window * example.windows
    room = min(
        stage.max_tokens // example.tokens,
        stage.max_frames / frames if frames else np.inf,
        stage.max_audio_seconds / seconds if seconds else np.inf,
    )
    count = int(room)
    if count < 1:
        raise ConfigError(
            f"an example of {example.tokens:.0f} tokens, {frames:.0f} frames and {seconds:.0f} s of sound fits no pack",
            hint="raise the stage's max_tokens, max_frames or max_audio_seconds",
        )
    pack = Pack(**{name: value * count for name, value in vars(example).items()})
    clips = SAMPLES if samples is None else samples
    reason = f" ({why})" if why else ""
    return Workload(
        mean=pack,
        largest=pack,
        packs=-(-clips * len(stage.tasks) // count) * stage.epochs,
        source=f"assumed: {clips:,} clips of {CLIP_SECONDS:.0f} s, {example.tokens:.0f} tokens each{reason}",
    )


def _example(config: RunConfig, stage: StageConfig) -> Pack:
    """One example that shows what any of the stage's tasks shows."""
    shown = {medium for task in stage.tasks for medium in config.tasks[task].modalities}
    model = config.model
    clips, cues = int("video" in shown), int("cues" in shown)
    windows = _windows(model) if "audio" in shown else 0
    media = clips * _video_tokens(model) + windows * model.audio_projector.tokens + cues * model.cue_projector.tokens
    tokens = media + max(1, min(TEXT_TOKENS, stage.max_tokens - media))
    return Pack.of([tokens], labels=LABEL_TOKENS, clips=clips, windows=windows, cues=cues)


def _windows(model: ModelConfig) -> int:
    return min(model.audio_windows, max(1, -int(-CLIP_SECONDS // model.audio_window)))


def _video_tokens(model: ModelConfig) -> int:
    from deemo_dist.model import ProjectorShape
    from deemo_dist.model.tokens import video_tokens

    return video_tokens(ProjectorShape(**vars(model.video_projector)), model.frames)
