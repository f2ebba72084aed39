"""Figures by subgroup, with counts and intervals: a mean over all people can hide that some are served badly."""

from collections.abc import Sequence
from dataclasses import dataclass

from deemo_dist.evaluation.prediction import Prediction
from deemo_dist.evaluation.recognition import Recognition, recognise

FEW_SUBJECTS = 5


@dataclass(frozen=True, kw_only=True)
class SubgroupRow:
    """One value of one attribute. ``few``: under 5 subjects, too few for a conclusion."""

    attribute: str
    value: str
    recognition: Recognition
    few: bool


def by_subgroup(
    predictions: Sequence[Prediction], choices: Sequence[str], *, resamples: int = 1000, seed: int = 0
) -> tuple[SubgroupRow, ...]:
    """The table over attributes and their values, both sorted; samples without an attribute are under ``unknown``."""
    attributes = sorted({name for item in predictions for name in item.subgroup})
    rows = []
    for attribute in attributes:
        groups: dict[str, list[Prediction]] = {}
        for item in predictions:
            groups.setdefault(item.subgroup.get(attribute) or "unknown", []).append(item)
        for value, members in sorted(groups.items()):
            found = recognise(members, choices, resamples=resamples, seed=seed)
            rows.append(
                SubgroupRow(attribute=attribute, value=value, recognition=found, few=found.subjects < FEW_SUBJECTS)
            )
    return tuple(rows)


def widest_gap(rows: Sequence[SubgroupRow]) -> dict[str, float]:
    """By attribute: best minus worst accuracy over its values with enough subjects (those with two such values)."""
    gaps = {}
    for attribute in sorted({row.attribute for row in rows}):
        figures = [row.recognition.accuracy.value for row in rows if row.attribute == attribute and not row.few]
        if len(figures) > 1:
            gaps[attribute] = max(figures) - min(figures)
    return gaps
