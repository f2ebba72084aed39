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
    (the design effect of one stage, never below 1, and t's quantiles for how well so few clusters tell it), so people
    whose clips agree count as few. At 0 and at 1 nothing is known of the spread: there each cluster counts as one
    observation. A bound holds for whatever has fewer hits too, so one more never narrows it.
    """
    groups = [np.asarray(values, dtype=np.float64) for values in observed.values() if len(values)]
    if not groups:
        return Share(value=float("nan"), low=0.0, high=1.0, count=0, clusters=0)
    hits, sizes = np.array([group.sum() for group in groups]), np.array([len(group) for group in groups])
    low, high = clustered_interval(hits, sizes)
    return Share(
        value=float(hits.sum() / sizes.sum()), low=low, high=high, count=int(sizes.sum()), clusters=len(groups)
    )


def clustered_interval(hits: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """The interval of :func:`share`, of clusters of ``sizes`` [C] observations (1 at least), ``hits`` [C] of them 1."""
    return 1 - _upper(sizes - hits, sizes), _upper(hits, sizes)


def _upper(hits: np.ndarray, sizes: np.ndarray) -> float:
    """The largest upper bound of any clusters of these ``sizes`` [C] with no more than these ``hits`` [C]."""
    from scipy.stats import beta

    totals = np.append(np.arange(np.ceil(hits.sum())), hits.sum())
    worth = _worth(totals, hits, sizes)
    expected = totals / sizes.sum() * worth
    some = expected < worth
    bounds = beta.ppf((1 + CONFIDENCE) / 2, expected[some] + 1, (worth - expected)[some])
    return float(bounds.max()) if some.all() else 1.0


def _worth(totals: np.ndarray, hits: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """As how many independent observations the clusters count with each of ``totals`` hits [T], in the worst case."""
    from scipy.stats import t

    count, clusters = int(sizes.sum()), len(sizes)
    if clusters < 2:
        return np.ones(len(totals))
    value = totals / count
    spread = _most(totals, hits) - 2 * value * _least(totals, hits, sizes) + value**2 * float((sizes**2).sum())
    told = (value > 0) & (value < 1)
    effect = np.full(len(totals), count / clusters)
    effect[told] = clusters / (clusters - 1) * spread[told] / (count * (value * (1 - value))[told])
    tails = t.ppf((1 + CONFIDENCE) / 2, [count - 1, clusters - 1])
    return count / np.maximum(effect, 1) * np.where(told, (tails[0] / tails[1]) ** 2, 1.0)


def _most(totals: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """The largest sum of squares of ``totals`` hits in clusters that have ``hits`` at most: the fullest first."""
    full = -np.sort(-hits)
    before = np.concatenate([[0.0], np.cumsum(full)])
    whole = np.clip(np.searchsorted(before, totals, side="right") - 1, 0, len(hits))
    return np.concatenate([[0.0], np.cumsum(full**2)])[whole] + (totals - before[whole]) ** 2


def _least(totals: np.ndarray, hits: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The least sum of the sizes of the clusters that ``totals`` hits are in, by hit: the smallest clusters first."""
    order = np.argsort(sizes, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(hits[order])])
    return np.interp(totals, before, np.concatenate([[0.0], np.cumsum((hits * sizes)[order])]))


def upper_bound(count: float) -> float:
    """What share may still be there, at 95 %, where none was seen in ``count`` independent observations: the rule of
    three, exactly."""
    return 1.0 if count <= 0 else float(1 - (1 - CONFIDENCE) ** (1 / count))
