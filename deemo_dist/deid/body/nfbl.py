"""Proposals of Non-Facial Body Language events by stated rules: an ontology's bounds on the signals of the hands.

The classes of DEEMO-NFBL are not public: an ontology is data (``configs/ontologies``), and ours is ours. A proposal
says where to look and how clear it is; it is not an annotation.
"""

import difflib
from collections.abc import Mapping

import numpy as np

from deemo_dist.config import NfblTypeConfig
from deemo_dist.deid.body.people import Bodies
from deemo_dist.deid.body.signals import SIGNALS, signals
from deemo_dist.errors import ConfigError
from deemo_dist.records import NfblEvent

SOFT = 0.1
"""A bound is a slope this wide: right on it the score is one half."""


def propose(bodies: Bodies, times: np.ndarray, ontology: Mapping[str, NfblTypeConfig]) -> tuple[NfblEvent, ...]:
    """Events of ``ontology`` (by type) in a clip with frames at ``times`` (float64 [T] seconds), by their start; each
    with its ``score``, 0.5 to 1. Raises ``ConfigError`` for a rule about a signal that there is not."""
    check_ontology(ontology)
    seen = signals(bodies, times)
    if not seen:
        return ()
    times = np.asarray(times, dtype=np.float64)
    events = [event for name, rule in ontology.items() for event in _events(name, rule, seen, times)]
    return tuple(sorted(events, key=lambda event: (event.start, event.end, event.type)))


def check_ontology(ontology: Mapping[str, NfblTypeConfig]) -> None:
    """Raise ``ConfigError`` for a rule about a signal that there is not."""
    for name, rule in ontology.items():
        for signal in (*rule.above, *rule.below):
            if signal not in SIGNALS:
                near = difflib.get_close_matches(signal, SIGNALS, n=1)
                raise ConfigError(
                    f"nfbl.{name}: there is no signal '{signal}'",
                    hint=f"did you mean '{near[0]}'?" if near else f"known: {', '.join(SIGNALS)}",
                )


def _events(name: str, rule: NfblTypeConfig, seen: Mapping[str, np.ndarray], times: np.ndarray) -> list[NfblEvent]:
    if not rule.above and not rule.below:
        return []
    score = frame_scores(rule, seen)
    events = []
    for start, end in spans(score >= 0.5, times, bridge=rule.bridge):
        if times[end] - times[start] >= rule.seconds:
            sure = float(np.clip(score[start : end + 1].mean(), 0.5, 1.0))
            first, last = float(times[start]), float(times[end])
            events.append(NfblEvent(start=round(first, 3), end=round(last, 3), type=name, score=round(sure, 3)))
    return events


def frame_scores(rule: NfblTypeConfig, seen: Mapping[str, np.ndarray]) -> np.ndarray:
    """How well each frame fits a rule, 0 to 1: [T]. The worst of its bounds counts, of the better or of the worse hand;
    what is not known fits nothing."""
    fits = [_slope(seen[signal] - bound) for signal, bound in rule.above.items()]
    fits += [_slope(bound - seen[signal]) for signal, bound in rule.below.items()]
    worst = np.nan_to_num(np.min(fits, axis=0), nan=0.0)
    return np.asarray(worst.max(axis=1) if rule.hands == "one" else worst.min(axis=1))


def _slope(beyond: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(0.5 + beyond / SOFT / 2, 0.0, 1.0))


def spans(holds: np.ndarray, times: np.ndarray, *, bridge: float) -> list[tuple[int, int]]:
    """First and last frames of the stretches where ``holds`` (bool [T]); gaps shorter than ``bridge`` seconds count."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], holds, [False]]).astype(np.int8)))
    found: list[tuple[int, int]] = []
    for start, end in zip(edges[::2], edges[1::2] - 1, strict=True):
        if found and times[start] - times[found[-1][1]] < bridge:
            found[-1] = found[-1][0], int(end)
        else:
            found.append((int(start), int(end)))
    return found
