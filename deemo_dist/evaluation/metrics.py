"""Accuracy, F1 and their intervals from confusion counts, over whole arrays at once.

A confusion is an integer array [C, C + 1]: rows are truths, columns answers in the order of the choices, and the last
column counts answers that could not be read. Such an answer is wrong and belongs to no class. F1 as in scikit-learn:
over the classes that occur as truth or answer, 0 where precision and recall are both 0.

Intervals are a bootstrap's over subjects. Where all subjects are alike it shows no spread: then accuracy's is the exact
one of so many clusters, and the others have none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
ROUNDING = 1e-12
AT_ONCE = 2**20
"""How often each subject is drawn in some resamples: 8 MB of counts."""
ALIKE = "all subjects are alike"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and its 95 % interval; ``low`` and ``high`` are None where there is none, and ``missing`` says why."""

    value: float
    low: float | None = None
    high: float | None = None
    missing: str = ""


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


def resampled(by_subject: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Confusions of resamples of *subjects* (clips of one person are not independent), as many draws with replacement
    as there are: [S, C, C+1] -> [B, C, C+1]. So many resamples at a time that ``AT_ONCE`` counts are in memory."""
    random, subjects = np.random.default_rng(seed), len(by_subject)
    shares, step = np.full(subjects, 1.0 / subjects), max(1, AT_ONCE // subjects)
    drawn = [
        np.tensordot(random.multinomial(subjects, shares, size=min(step, resamples - start)), by_subject, axes=1)
        for start in range(0, resamples, step)
    ]
    return np.concatenate(drawn)


def estimate(metric: Metric, by_subject: np.ndarray, *, resamples: int, seed: int) -> Estimate:
    """``metric`` over all subjects, with the percentile interval of the subject bootstrap; of an accuracy that all
    subjects share, with the exact one."""
    value = float(metric(by_subject.sum(0)))
    if missing := _missing(by_subject, resamples):
        return Estimate(value=value, missing=missing)
    found = _interval(value, metric(resampled(by_subject, resamples, seed)))
    return _exact(value, by_subject) if metric is accuracy and found.missing else found


def difference(metric: Metric, ours: np.ndarray, theirs: np.ndarray, *, resamples: int, seed: int) -> Estimate:
    """``metric(ours) - metric(theirs)`` on the same subjects, with a paired interval. Both int64 [S, C, C + 1]."""
    value = float(metric(ours.sum(0)) - metric(theirs.sum(0)))
    if missing := _missing(ours, resamples):
        return Estimate(value=value, missing=missing)
    if np.array_equal(ours, theirs):
        return Estimate(value=0.0, low=0.0, high=0.0)
    drawn = [metric(resampled(part, resamples, seed)) for part in (ours, theirs)]
    return _interval(value, drawn[0] - drawn[1])


def _interval(value: float, drawn: np.ndarray) -> Estimate:
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return Estimate(value=value, missing="too few samples")
    low, high = (float(bound) for bound in np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
    return Estimate(value=value, low=low, high=high) if high - low > ROUNDING else Estimate(value=value, missing=ALIKE)


def _missing(by_subject: np.ndarray, resamples: int) -> str:
    """Why no interval can be given; empty where one can."""
    if len(by_subject) < 2:
        return "one subject"
    return "" if resamples > 0 else "evaluation.bootstrap is 0"


def _exact(value: float, by_subject: np.ndarray) -> Estimate:
    """An accuracy with the interval of so many clusters of right and wrong answers."""
    from deemo_dist.deid.audit.statistics import clustered_interval

    counts = by_subject[by_subject.sum((1, 2)) > 0]
    right = np.trace(counts[..., :-1], axis1=1, axis2=2)
    low, high = clustered_interval(right, counts.sum((1, 2)))
    return Estimate(value=value, low=low, high=high)
