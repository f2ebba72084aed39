"""Explanations: free texts that a model wrote, beside the truth. Shown as they are, not scored here."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One generated text. ``truth``: the label; ``answer``: the label the model chose; ``reference``: a person's or
    generator's text for the same sample, None where there is none."""

    key: str
    truth: str
    generated: str
    answer: str | None = None
    reference: str | None = None
    modalities: tuple[str, ...] = ()


def choose(truths: Sequence[str], count: int) -> list[int]:
    """Numbers of ``count`` samples, spread over the labels in turn and not picked by result: first of each label, then
    second of each."""
    by_label: dict[str, list[int]] = {}
    for number, truth in enumerate(truths):
        by_label.setdefault(truth, []).append(number)
    turns = [(turn, label, number) for label, found in sorted(by_label.items()) for turn, number in enumerate(found)]
    return [number for _, _, number in sorted(turns)[:count]]
