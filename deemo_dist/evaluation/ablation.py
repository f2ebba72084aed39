"""Modality ablation: what each modality can do alone, and what is missing without it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deemo_dist.evaluation.metrics import Estimate, accuracy, difference
from deemo_dist.evaluation.prediction import Prediction
from deemo_dist.evaluation.recognition import READERS, Recognition, counts_of, recognise

MODALITIES = ("video", "audio", "cues", "text")
ALL = "all"
BODY = "body"
SEEN = ("video", "cues")
"""What tells of the body: both are of the same movement, so what either is worth shows only beside both."""


def conditions(modalities: Sequence[str] = MODALITIES) -> dict[str, tuple[str, ...]]:
    """``all``, each modality alone under its name, ``body`` (video and cues together), and ``without_NAME``, where that
    is not one of the others."""
    kept = tuple(name for name in MODALITIES if name in modalities)
    found = {ALL: kept}
    if len(kept) > 1:
        found |= {name: (name,) for name in kept}
    if len(kept) > 2:
        found |= {BODY: SEEN} if set(SEEN) < set(kept) else {}
        found |= {f"without_{name}": tuple(other for other in kept if other != name) for name in kept}
    return found


@dataclass(frozen=True, kw_only=True)
class AblationRow:
    """One condition. ``skipped``: samples that have none of its modalities (left out, never filled with zeros);
    ``change``: accuracy minus that of ``all`` on the same samples, with a paired interval (None for ``all``)."""

    name: str
    modalities: tuple[str, ...]
    recognition: Recognition
    skipped: int
    change: Estimate | None


def ablate(
    predictions: Mapping[str, Sequence[Prediction]],
    choices: Sequence[str],
    shown: Mapping[str, tuple[str, ...]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[AblationRow, ...]:
    """The table over conditions, by likelihood. ``predictions`` by condition must have ``all``; ``shown``: modalities.

    A condition without any prediction is left out.
    """
    whole = predictions[ALL]
    rows = []
    for name, found in predictions.items():
        if not found:
            continue
        rows.append(
            AblationRow(
                name=name,
                modalities=tuple(shown[name]),
                recognition=recognise(found, choices, resamples=resamples, seed=seed),
                skipped=len(whole) - len(found),
                change=None if name == ALL else _change(found, whole, choices, resamples, seed),
            )
        )
    return tuple(rows)


def _change(
    found: Sequence[Prediction], whole: Sequence[Prediction], choices: Sequence[str], resamples: int, seed: int
) -> Estimate:
    keys = {item.key for item in found}
    same = [item for item in whole if item.key in keys]
    ours, theirs = (counts_of(part, choices, READERS["likelihood"]) for part in (found, same))
    return difference(accuracy, ours, theirs, resamples=resamples, seed=seed)
