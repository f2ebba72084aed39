"""Intervals for shares of clips that come in clusters (people), and what so many observations can show at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share and its 95 % interval over ``count`` observations of ``clusters`` people; NaN and 0..1 without any."""

    value: float
    low: float
    high: float
    count: int
    clusters: int


def exact_interval(hits: float, count: float) -> tuple[float, float]:
    """Clopper-Pearson at 95 %: of ``hits`` in ``count``, neither need be whole; (0, 1) for none."""
    from scipy.stats import beta

    if count <= 0:
        return 0.0, 1.0
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if hits <= 0 else float(beta.ppf(tail, hits, count - hits + 1))
    high = 1.0 if hits >= count else float(beta.ppf(1 - tail, hits + 1, count - hits))
    return low, high


def share(observed: Mapping[str, Sequence[float]]) -> Share:
    """The mean of observations in 0..1 by cluster, each observation counting alike.

    The interval is Korn and Graubard's (1998): exact, over as many independent observations as the clusters are worth
    (the design effect of one stage, never below 1), so people whose clips agree count as few. At 0 and at 1 nothing is
    known of the spread: there each cluster counts as one observation.
    """
    groups = [np.asarray(values, dtype=np.float64) for values in observed.values() if len(values)]
    count = sum(len(group) for group in groups)
    if not count:
        return Share(value=float("nan"), low=0.0, high=1.0, count=0, clusters=0)
    value = float(sum(group.sum() for group in groups)) / count
    worth = count / max(1.0, _design_effect(groups, value, count))
    low, high = exact_interval(value * worth, worth)
    return Share(value=value, low=low, high=high, count=count, clusters=len(groups))


def _design_effect(groups: Sequence[np.ndarray], value: float, count: int) -> float:
    """Variance between clusters over that of as many independent draws; ``count`` / clusters where the share is 0 or 1,
    so that nothing is known of the spread."""
    if len(groups) < 2:
        return float(count)
    independent = value * (1 - value) / count
    if independent <= 0:
        return count / len(groups)
    residuals = np.array([(group - value).sum() for group in groups]) / count
    between = len(groups) / (len(groups) - 1) * float((residuals**2).sum())
    return between / independent


def upper_bound(count: float) -> float:
    """What share may still be there, at 95 %, where none was seen in ``count`` independent observations: the rule of
    three, exactly."""
    return 1.0 if count <= 0 else float(1 - (1 - CONFIDENCE) ** (1 / count))
