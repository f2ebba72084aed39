"""Whether body cues tell whose they are: a classifier that knows other clips of the same people.

A closed set is the hardest case for us and the easiest for the attacker. What is left after normalisation is the style
of moving and what the pose network makes of a person's looks: it is reported, not gated.
"""

import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deemo_dist.deid.audit.statistics import Share, share
from deemo_dist.deid.body.cues import BONES, LEFT_HIP, LEFT_SHOULDER, RIGHT_HIP, RIGHT_SHOULDER

FOLDS = 4
_SEGMENTS = np.array(
    [(parent, child) for parent, child, _ in BONES]
    + [(LEFT_SHOULDER, RIGHT_SHOULDER), (LEFT_HIP, RIGHT_HIP), (LEFT_SHOULDER, LEFT_HIP), (RIGHT_SHOULDER, RIGHT_HIP)]
)


@dataclass(frozen=True, kw_only=True)
class CueLinkage:
    """``rank1``: clips given to the right one of ``subjects`` people by the better of the attackers, ``attacker``, with
    its 95 % interval by subject; ``chance`` what guessing the commonest gives."""

    rank1: Share
    chance: float
    subjects: int
    attacker: str


def subject_linkage(cues: Sequence[np.ndarray], subjects: Sequence[str]) -> CueLinkage | None:
    """Tell whose each clip is by its cues ([T, 22, 3]; as stored, or ``pixel_cues`` for before normalising).

    Each clip is named by attackers (linear discriminants; a random forest) trained on other clips of all people; the
    discriminants only where every training has more clips than people. People with one clip and clips in which nobody
    was seen are left out; None (not estimable) where fewer than two people are left.
    """
    seen = [(describe(track), subject) for track, subject in zip(cues, subjects, strict=True) if track[..., 2].any()]
    numbers: dict[Hashable, list[int]] = defaultdict(list)
    for number, (_, subject) in enumerate(seen):
        numbers[subject].append(number)
    people = {subject: clips for subject, clips in numbers.items() if len(clips) >= 2}
    if len(people) < 2:
        return None
    clips = [number for mine in people.values() for number in mine]
    features = np.stack([seen[number][0] for number in clips])
    names = np.array([seen[number][1] for number in clips])
    folds = np.concatenate([np.arange(len(mine)) % min(FOLDS, len(mine)) for mine in people.values()])
    fewest = min(int((folds != fold).sum()) for fold in np.unique(folds))
    attackers = _attackers(spread=fewest > len(people))
    results = {name: share(_right(features, names, folds, make)) for name, make in attackers.items()}
    best = max(results, key=lambda name: results[name].value)
    chance = max(len(mine) for mine in people.values()) / len(clips)
    return CueLinkage(rank1=results[best], chance=chance, subjects=len(people), attacker=best)


def describe(track: np.ndarray) -> np.ndarray:
    """What an attacker keeps of a clip's cues [T, K, 3]: where each point is (three percentiles), how long the segments
    between them are, how fast they move. float64 [F], frames without anybody left out."""
    here = track[track[..., 2].max(axis=1) > 0].astype(np.float64)
    points = here[..., :2]
    lengths = np.linalg.norm(points[:, _SEGMENTS[:, 0]] - points[:, _SEGMENTS[:, 1]], axis=-1)
    moved = np.abs(np.diff(points, axis=0)).mean(axis=0) if len(points) > 1 else np.zeros(points.shape[1:])
    spread = np.percentile(points, [10, 50, 90], axis=0)
    return np.concatenate([spread.ravel(), np.percentile(lengths, [50, 90], axis=0).ravel(), moved.ravel()])


def _right(
    features: np.ndarray, names: np.ndarray, folds: np.ndarray, make: Callable[[], Any]
) -> dict[str, list[float]]:
    """Whether each clip was named rightly by an attacker that had not seen it, by subject."""
    right: dict[str, list[float]] = defaultdict(list)
    for fold in np.unique(folds):
        known = folds != fold
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Only one sample available")  # its own spread counts as 0
            guesses = make().fit(features[known], names[known]).predict(features[~known])
        for guess, name in zip(guesses, names[~known], strict=True):
            right[str(name)].append(float(guess == name))
    return right


def _attackers(*, spread: bool) -> dict[str, Callable[[], Any]]:
    """How to make each attacker, by name. ``spread``: whether somebody is known by two clips, without which linear
    discriminants see no spread within people."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    discriminants = {
        "linear discriminants": lambda: make_pipeline(
            StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2)
        )
    }
    forest = {"random forest": lambda: RandomForestClassifier(200, random_state=0, n_jobs=1)}
    return {**(discriminants if spread else {}), **forest}
