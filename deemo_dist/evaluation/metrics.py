"""Accuracy, F1 and their bootstrap intervals from confusion counts, over whole arrays at once.

A confusion is an integer array [C, C + 1]: rows are truths, columns answers in the order of the choices, and the last
column counts answers that could not be read. Such an answer is wrong and belongs to no class. F1 as in scikit-learn:
over the classes that occur as truth or answer, 0 where precision and recall are both 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and its 95 % interval; ``low`` and ``high`` are None where none exists (fewer than 2 subjects)."""

    value: float
    low: float | None = None
    high: float | None = None


Metric = Callable[[np.ndarray], np.ndarray]


def confusions_by_subject(
    truths: Sequence[str], answers: Sequence[str | None], subjects: Sequence[str], choices: Sequence[str]
) -> np.ndarray:
    """One confusion a subject: int64 [S, C, C + 1], subjects sorted by their key."""
    column = {choice: number for number, choice in enumerate(choices)}
    row_of = {subject: number for number, subject in enumerate(sorted(set(subjects)))}
    counts = np.zeros((len(row_of), len(choices), len(choices) + 1), dtype=np.int64)
    for truth, answer, subject in zip(truths, answers, subjects, strict=True):
        unread = len(choices)
        counts[row_of[subject], column[truth], unread if answer is None else column[answer]] += 1
    return counts


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of right answers: [..., C, C + 1] -> [...]; unreadable answers are wrong; NaN without samples."""
    right = np.trace(confusion[..., :-1], axis1=-2, axis2=-1)
    return _ratio(right, confusion.sum((-2, -1)), empty=np.nan)


def f1_by_class(confusion: np.ndarray) -> np.ndarray:
    """F1 of each class: [..., C, C + 1] -> [..., C]."""
    right = np.diagonal(confusion[..., :-1], axis1=-2, axis2=-1)
    named = confusion[..., :-1].sum(-2)
    support = confusion.sum(-1)
    return _ratio(2.0 * right, named + support, empty=0.0)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that occur as truth or answer: [..., C, C + 1] -> [...]."""
    occurs = (confusion[..., :-1].sum(-2) + confusion.sum(-1)) > 0
    return _ratio((f1_by_class(confusion) * occurs).sum(-1), occurs.sum(-1), empty=np.nan)


def weighted_f1(confusion: np.ndarray) -> np.ndarray:
    """F1 averaged with the number of truths of each class: [..., C, C + 1] -> [...]."""
    support = confusion.sum(-1)
    return _ratio((f1_by_class(confusion) * support).sum(-1), support.sum(-1), empty=np.nan)


def _ratio(above: np.ndarray, below: np.ndarray, *, empty: float) -> np.ndarray:
    filled = np.full(np.shape(above), empty, dtype=np.float64)
    return np.divide(above, below, out=filled, where=np.asarray(below) > 0)


def subject_weights(subjects: int, resamples: int, seed: int) -> np.ndarray:
    """How often each subject is drawn in each resample: int64 [B, S], ``subjects`` draws with replacement."""
    random = np.random.default_rng(seed)
    return random.multinomial(subjects, np.full(subjects, 1.0 / subjects), size=resamples)


def resampled(by_subject: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Confusions of resamples of *subjects* (clips of one person are not independent): [S, C, C+1] -> [B, C, C+1]."""
    weights = subject_weights(len(by_subject), resamples, seed)
    return np.tensordot(weights, by_subject, axes=1)


def estimate(metric: Metric, by_subject: np.ndarray, *, resamples: int, seed: int) -> Estimate:
    """``metric`` over all subjects, with the percentile interval of the subject bootstrap."""
    value = float(metric(by_subject.sum(0)))
    if len(by_subject) < 2 or resamples < 1:
        return Estimate(value=value)
    return _interval(value, metric(resampled(by_subject, resamples, seed)))


def difference(metric: Metric, ours: np.ndarray, theirs: np.ndarray, *, resamples: int, seed: int) -> Estimate:
    """``metric(ours) - metric(theirs)`` on the same subjects, with a paired interval. Both int64 [S, C, C + 1]."""
    value = float(metric(ours.sum(0)) - metric(theirs.sum(0)))
    if len(ours) < 2 or resamples < 1:
        return Estimate(value=value)
    drawn = [metric(resampled(part, resamples, seed)) for part in (ours, theirs)]
    return _interval(value, drawn[0] - drawn[1])


def _interval(value: float, drawn: np.ndarray) -> Estimate:
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return Estimate(value=value)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value=value, low=float(low), high=float(high))
