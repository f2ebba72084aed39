"""Can two clips of one person be put together? Templates of gallery and probe clips, compared by distance.

Everything here is about numbers in memory: a template is biometric, it is neither written nor logged, and only counts
and curves leave.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deemo_dist.deid.audit.statistics import Share, share

MATCH = 0.6
FEWEST_PEOPLE = 5
RANKS = 10
POINTS = 41
DIGITS = 9  # beyond them, equal distances differ by how they were added up


@dataclass(frozen=True)
class Template:
    """What an attacker keeps of one clip: ``gallery`` as somebody known is enrolled, ``probe`` as the clip to name;
    both float64 [D]. ``repr`` shows neither."""

    key: str
    subject: str
    gallery: np.ndarray
    probe: np.ndarray

    def __repr__(self) -> str:
        return f"Template({self.key})"


@dataclass(frozen=True, kw_only=True)
class Linkage:
    """One attack. ``rank1``: share of probes whose nearest person in the gallery is the right one, ``chance`` what
    guessing gives; ``match``: share of probes nearer than ``threshold`` to their own person (None: no threshold is
    known for such templates); ``false_match``: of pairs of different people; ``cmc``: shares within rank 1, 2, ...;
    ``roc``: false and true matches as the threshold grows; ``auc``: the area under it (.5: nothing is told)."""

    people: int
    probes: int
    rank1: Share
    chance: float
    match: Share | None
    false_match: float | None
    cmc: tuple[float, ...]
    roc: tuple[tuple[float, float], ...]
    auc: float

    @property
    def estimable(self) -> bool:
        """Whether there are people enough to say anything."""
        return self.people >= FEWEST_PEOPLE


def link(templates: Sequence[Template], *, threshold: float | None = MATCH) -> Linkage | None:
    """Name every probe by the nearest gallery; each person's clips are cut in halves, and each half is once the
    gallery and once the probes, so gallery and probe are always different clips.

    People with one clip are left out. None where fewer than two people remain.
    """
    people = _people(templates)
    if len(people) < 2:
        return None
    halves = [_compare(people, probe_half) for probe_half in (0, 1)]
    rows = [name for names, _ in halves for name in names]
    order = sorted(people)
    distances = np.concatenate([found for _, found in halves])
    relative = np.concatenate([found - found.mean(axis=0) for _, found in halves]).round(DIGITS)
    own = np.array([order.index(subject) for subject in rows])
    mine = (np.arange(len(rows)), own)
    theirs = np.arange(len(order))[None] != own[:, None]
    ranks = [_credit(row, person) for row, person in zip(relative, own, strict=True)]
    return Linkage(
        people=len(order),
        probes=len(rows),
        rank1=share(_by_subject(rows, [float(rank[0]) for rank in ranks])),
        chance=1 / len(order),
        match=None if threshold is None else share(_by_subject(rows, [float(d < threshold) for d in distances[mine]])),
        false_match=None if threshold is None else float((distances[theirs] < threshold).mean()),
        cmc=tuple(np.cumsum(np.mean(ranks, axis=0))[:RANKS].tolist()),
        roc=_roc(relative[mine], relative[theirs]),
        auc=_area(relative[mine], relative[theirs]),
    )


def _people(templates: Sequence[Template]) -> dict[str, tuple[list[Template], list[Template]]]:
    """Clips of each person with two or more, in the order of their keys, cut in halves."""
    groups: dict[str, list[Template]] = defaultdict(list)
    for template in sorted(templates, key=lambda item: item.key):
        groups[template.subject].append(template)
    return {name: (items[::2], items[1::2]) for name, items in sorted(groups.items()) if len(items) > 1}


def _compare(
    people: Mapping[str, tuple[list[Template], list[Template]]], probe_half: int
) -> tuple[list[str], np.ndarray]:
    """Every probe of one half against each person's mean gallery of the other: subjects [N], distances [N, people]."""
    gallery = np.stack([np.mean([item.gallery for item in both[1 - probe_half]], axis=0) for both in people.values()])
    probes = [item for both in people.values() for item in both[probe_half]]
    distances = np.stack([np.linalg.norm(gallery - item.probe, axis=1) for item in probes])
    return [item.subject for item in probes], distances


def _credit(distances: np.ndarray, own: int) -> np.ndarray:
    """The chance of each rank for the right person; people at equal distance share their ranks evenly."""
    nearer = int((distances < distances[own]).sum())
    tied = int((distances == distances[own]).sum())
    credit = np.zeros(len(distances))
    credit[nearer : nearer + tied] = 1 / tied
    return credit


def _by_subject(rows: Sequence[str], values: Sequence[float]) -> dict[str, list[float]]:
    grouped: dict[str, list[float]] = defaultdict(list)
    for subject, value in zip(rows, values, strict=True):
        grouped[subject].append(value)
    return grouped


def _roc(genuine: np.ndarray, others: np.ndarray) -> tuple[tuple[float, float], ...]:
    """(false match, true match) at thresholds where false matches are spread evenly, from nothing to everything."""
    cuts = np.quantile(others, np.linspace(0, 1, POINTS))
    points = [((others <= cut).mean(), (genuine <= cut).mean()) for cut in cuts]
    return ((0.0, 0.0), *((float(false), float(true)) for false, true in points), (1.0, 1.0))


def _area(genuine: np.ndarray, others: np.ndarray) -> float:
    """Chance that a pair of one person is nearer than a pair of two (ties count half)."""
    ranked = np.sort(others)
    below = np.searchsorted(ranked, genuine, side="left")
    upto = np.searchsorted(ranked, genuine, side="right")
    return float(1 - ((below + upto) / 2 / len(ranked)).mean())
