"""Evaluate a model that is given as callables, over batches of loaded examples: each medium is loaded once."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deemo_dist.errors import ModelError
from deemo_dist.evaluation.ablation import ALL, MODALITIES, AblationRow, ablate, conditions
from deemo_dist.evaluation.explanations import Explanation
from deemo_dist.evaluation.prediction import Prediction, by_likelihood
from deemo_dist.evaluation.recognition import Recognition, recognise
from deemo_dist.evaluation.subgroups import SubgroupRow, by_subgroup
from deemo_dist.records import LoadedExample

Score = Callable[[Sequence[LoadedExample], Sequence[str]], np.ndarray]
Generate = Callable[[Sequence[LoadedExample]], Sequence[str]]
Restrict = Callable[[LoadedExample, tuple[str, ...]], LoadedExample]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All figures of one split. ``generation`` is None when no text was generated."""

    split: str
    likelihood: Recognition
    generation: Recognition | None
    ablation: tuple[AblationRow, ...]
    subgroups: tuple[SubgroupRow, ...]
    predictions: tuple[Prediction, ...]


def evaluate(
    batches: Iterable[Sequence[LoadedExample]],
    choices: Sequence[str],
    *,
    score: Score,
    generate: Generate | None = None,
    restrict: Restrict | None = None,
    modalities: Sequence[str] = MODALITIES,
    ablations: bool = True,
    split: str = "test",
    resamples: int = 1000,
    seed: int = 0,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Recognition over ``batches``, under every condition of the ablation, and by subgroup.

    ``score(loaded, choices)``: summed log-likelihoods, float [N, C]; ``generate(loaded)``: one text an example, asked
    for with all modalities only; ``restrict(loaded, modalities)``: the same example with fewer modalities (``show``
    when None; hand in one that also rebuilds the turns when a prompt quotes the transcript); ``on_batch`` is told the
    number of examples done. Raises ``ModelError`` for an example without an answer, scores of another shape or not
    finite, and when there is nothing to judge.
    """
    shown = conditions(modalities)
    if not ablations:
        shown = {ALL: shown[ALL]}
    found: dict[str, list[Prediction]] = {name: [] for name in shown}
    for batch in batches:
        for name, kept in shown.items():
            limited = _limited(batch, kept, restrict or show)
            if limited:
                texts = generate(limited) if generate and name == ALL else None
                found[name].extend(_predictions(limited, choices, score, texts))
        if on_batch:
            on_batch(len(batch))
    whole = found[ALL]
    likelihood = recognise(whole, choices, resamples=resamples, seed=seed)
    return Evaluation(
        split=split,
        likelihood=likelihood,
        generation=recognise(whole, choices, method="generation", resamples=resamples, seed=seed) if generate else None,
        ablation=ablate(found, choices, shown, resamples=resamples, seed=seed) if ablations else (),
        subgroups=by_subgroup(whole, choices, resamples=resamples, seed=seed),
        predictions=tuple(whole),
    )


def explain(
    batches: Iterable[Sequence[LoadedExample]],
    generate: Generate,
    *,
    truths: Mapping[str, str],
    answers: Mapping[str, str | None] | None = None,
    references: Mapping[str, str] | None = None,
) -> tuple[Explanation, ...]:
    """Free texts for examples of the explaining task, one batch after another, none for no examples; labels, chosen
    answers and references are given by sample key. Raises ``ModelError`` for another number of texts than examples."""
    found: list[Explanation] = []
    for batch in batches:
        texts = generate(batch)
        _check_count("texts", len(texts), len(batch))
        found += [
            Explanation(
                key=item.example.key,
                truth=truths.get(item.example.key, "unknown"),
                generated=text,
                answer=(answers or {}).get(item.example.key),
                reference=(references or {}).get(item.example.key),
                modalities=item.example.modalities,
            )
            for item, text in zip(batch, texts, strict=True)
        ]
    return tuple(found)


def answers_of(evaluation: Evaluation) -> dict[str, str | None]:
    """The choice by likelihood, by sample key."""
    return {item.key: by_likelihood(item) for item in evaluation.predictions}


def available(loaded: LoadedExample) -> tuple[str, ...]:
    """The modalities that an example shows and has: a medium that is missing is not counted as shown."""
    media = loaded.media
    has = {
        "video": media.frames is not None,
        "audio": media.waveform is not None,
        "cues": media.cues is not None,
        "text": True,
    }
    return tuple(name for name in MODALITIES if name in loaded.example.modalities and has[name])


def show(loaded: LoadedExample, modalities: tuple[str, ...]) -> LoadedExample:
    """The example with ``modalities`` alone: media of the others are absent (None), not zeros."""
    media = loaded.media
    kept = dataclasses.replace(
        media,
        frames=media.frames if "video" in modalities else None,
        frame_times=media.frame_times if "video" in modalities else None,
        waveform=media.waveform if "audio" in modalities else None,
        cues=media.cues if "cues" in modalities else None,
        cue_times=media.cue_times if "cues" in modalities else None,
    )
    return dataclasses.replace(
        loaded, media=kept, example=dataclasses.replace(loaded.example, modalities=tuple(modalities))
    )


def _limited(batch: Sequence[LoadedExample], kept: tuple[str, ...], restrict: Restrict) -> list[LoadedExample]:
    """The examples that have at least one of ``kept``, showing only these."""
    limited = []
    for loaded in batch:
        common = tuple(name for name in available(loaded) if name in kept)
        if common:
            limited.append(restrict(loaded, common))
    return limited


def _predictions(
    loaded: Sequence[LoadedExample], choices: Sequence[str], score: Score, texts: Sequence[str] | None
) -> list[Prediction]:
    scores = np.asarray(score(loaded, choices), dtype=np.float64)
    if scores.shape != (len(loaded), len(choices)):
        raise ModelError(f"the model gave scores of shape {scores.shape}, not {(len(loaded), len(choices))}")
    if not np.isfinite(scores).all():
        raise ModelError("the model gave scores that are not finite", hint="did training diverge? look at its losses")
    if texts is not None:
        _check_count("texts", len(texts), len(loaded))
    return [
        Prediction(
            key=item.example.key,
            subject_key=item.example.sample.subject_key,
            truth=_truth(item),
            scores=dict(zip(choices, row.tolist(), strict=True)),
            generated=None if texts is None else texts[number],
            subgroup=item.example.sample.subgroup,
            modalities=item.example.modalities,
        )
        for number, (item, row) in enumerate(zip(loaded, scores, strict=True))
    ]


def _truth(loaded: LoadedExample) -> str:
    if loaded.example.answer is None:
        raise ModelError(
            f"sample {loaded.example.key} has no label for task '{loaded.example.task}'",
            hint="evaluate a task with choices, over samples that carry its label",
        )
    return loaded.example.answer


def _check_count(what: str, got: int, wanted: int) -> None:
    if got != wanted:
        raise ModelError(f"the model gave {got} {what} for {wanted} examples")
