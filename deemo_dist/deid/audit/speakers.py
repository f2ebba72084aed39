"""Can a disguised voice be led back to its speaker? Equal error rates of attackers who know more and more.

Clips to name are compared with what somebody known is enrolled by: the raw voice (``ignorant``), one disguised by the
same method with other parameters (``lazy-informed``), or one disguised with each of a grid of the method's parameters,
of which the best score counts (``grid-informed``). ``raw`` voices on both sides show what the encoder can do at all.
A person's clips are cut in halves, each half once enrolled and once to be named: never the same clip on both sides.

Embeddings are biometric templates: they live in memory here, and only error rates and curves leave.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deemo_dist.deid.audit.statistics import CONFIDENCE, Share
from deemo_dist.deid.voice.disguise import Method, disguised_as, drawn, grid

RATE = 16_000
LONGEST = 8 * RATE  # samples of a clip that are listened to
FEWEST_SPEAKERS, FEWEST_UTTERANCES = 20, 5
UTTERANCES = 6  # of one speaker that are listened to
MOST = 150
REPLICATES = 400
POINTS = 41
SEED = 0x5EED
ATTACKERS = ("raw", "ignorant", "lazy-informed", "grid-informed")

Reader = Callable[[Sequence[np.ndarray]], list[np.ndarray | None]]


@dataclass(frozen=True)
class Voice:
    """The sound of one clip before and after, float [N] at 16 kHz each. ``repr`` shows neither."""

    key: str
    subject: str
    raw: np.ndarray
    released: np.ndarray

    def __repr__(self) -> str:
        return f"Voice({self.key})"


@dataclass(frozen=True)
class _Template:
    """One clip: ``probes`` and ``enrolled`` [G, D] by attacker."""

    key: str
    subject: str
    probes: Mapping[str, np.ndarray]
    enrolled: Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class SpeakerAttack:
    """``eer``: the rate at which as many strangers are taken for a speaker as clips of a speaker are missed (.5 is
    guessing), its 95 % interval from a bootstrap over speakers; ``count`` clips of ``clusters`` speakers. ``curve``:
    (strangers taken for one, clips of one found) as the threshold falls."""

    attacker: str
    eer: Share
    curve: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class SpeakerFigures:
    """All attacks on voices under one ``method``. ``speakers`` with two ``utterances`` or more took part, ``full`` of
    them with five or more."""

    method: str
    reader: str
    speakers: int
    utterances: int
    full: int
    attacks: tuple[SpeakerAttack, ...]

    @property
    def estimable(self) -> bool:
        """Whether there are speakers enough, with utterances enough, to say anything."""
        return self.full >= FEWEST_SPEAKERS

    @property
    def shortfall(self) -> str:
        """Why nothing is said, in words."""
        return f"not estimable: {self.full} speakers with {FEWEST_UTTERANCES} utterances, {FEWEST_SPEAKERS} are needed"

    @property
    def summary(self) -> str:
        """One line for a terminal."""
        rates = (
            f"{item.attacker} {item.eer.value:.3f} ({item.eer.low:.3f} to {item.eer.high:.3f})" for item in self.attacks
        )
        said = f"equal error rates {', '.join(rates)}; .5 is guessing" if self.estimable else self.shortfall
        return f"voices under {self.method}: {said}"


def speaker_attack(
    voices: Sequence[Voice], method: Method, reader: Reader, *, name: str = "", tick: Callable[[], None] = lambda: None
) -> SpeakerFigures:
    """Attack ``voices`` that were disguised by ``method``, each raw sound being disguised again for the enrolment: see
    ``chosen_voices``. ``reader``: a template of each sound, None where there is no voice; ``tick`` after each clip.

    Without two speakers of two utterances there is nothing to compare: no attacks.
    """
    templates = []
    for number, voice in enumerate(sorted(voices, key=lambda item: item.key)):
        found = _template(voice, method, reader, number)
        tick()
        if found is not None:
            templates.append(found)
    people = _halves(templates)
    counts = [len(first) + len(second) for first, second in people.values()]
    attacks = (_attack(people, attacker) for attacker in ATTACKERS) if len(people) > 1 else ()
    return SpeakerFigures(
        method=method,
        reader=name,
        speakers=len(people),
        utterances=sum(counts),
        full=sum(count >= FEWEST_UTTERANCES for count in counts),
        attacks=tuple(attacks),
    )


def chosen_voices(voices: Sequence[Voice], most: int = MOST) -> list[Voice]:
    """Whole speakers, those with utterances enough first, until ``most`` clips are taken; keys are keyed hashes, so
    their order is as good as a draw."""
    groups: dict[str, list[Voice]] = defaultdict(list)
    for voice in sorted(voices, key=lambda item: item.key):
        groups[voice.subject].append(voice)
    order = sorted(groups.values(), key=lambda own: (-min(len(own), FEWEST_UTTERANCES), own[0].key))
    taken: list[Voice] = []
    for own in order:
        if len(own) > 1 and len(taken) + min(len(own), UTTERANCES) <= most:
            taken += own[:UTTERANCES]
    return taken


def _template(voice: Voice, method: Method, reader: Reader, number: int) -> _Template | None:
    """None where there is no voice in the raw or the released sound."""
    raw, released = voice.raw[:LONGEST], voice.released[:LONGEST]
    other = drawn(np.random.default_rng([SEED, number]))
    clear, probe, *tries = reader([raw, released, *disguised_as(raw, method, [other, *grid(method)])])
    if clear is None or probe is None:
        return None
    lazy, *informed = [clear if found is None else found for found in tries]
    enrolled = (clear[None], clear[None], lazy[None], np.stack(informed))
    return _Template(
        key=voice.key,
        subject=voice.subject,
        probes=dict(zip(ATTACKERS, (clear, probe, probe, probe), strict=True)),
        enrolled=dict(zip(ATTACKERS, enrolled, strict=True)),
    )


_People = Mapping[str, tuple[list[_Template], list[_Template]]]


def _halves(templates: Sequence[_Template]) -> _People:
    """Clips of each speaker with two or more, in the order of their keys, cut in halves."""
    groups: dict[str, list[_Template]] = defaultdict(list)
    for template in templates:
        groups[template.subject].append(template)
    return {name: (items[::2], items[1::2]) for name, items in sorted(groups.items()) if len(items) > 1}


def _attack(people: _People, attacker: str) -> SpeakerAttack:
    """Every clip against every speaker's other half."""
    order = list(people)
    rows: list[np.ndarray] = []
    own: list[int] = []
    for half in (0, 1):
        gallery = np.stack([_enrolled(both[1 - half], attacker) for both in people.values()])
        for place, name in enumerate(order):
            for template in people[name][half]:
                rows.append((gallery @ template.probes[attacker]).max(axis=1))
                own.append(place)
    trials = _Trials(np.stack(rows), np.array(own))
    low, high = _interval(trials)
    eer, curve = trials.rates(np.ones(len(order)))
    return SpeakerAttack(
        attacker=attacker,
        eer=Share(value=eer, low=min(low, eer), high=max(high, eer), count=len(rows), clusters=len(order)),
        curve=curve,
    )


def _enrolled(templates: Sequence[_Template], attacker: str) -> np.ndarray:
    """A speaker's mean template for each of the parameters tried, each of length 1: [G, D]."""
    mean = np.mean([template.enrolled[attacker] for template in templates], axis=0)
    return np.asarray(mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9))


class _Trials:
    """Scores [N, S] of clips against speakers, sorted once, so that many bootstraps are cheap. ``own`` [N]: whose."""

    def __init__(self, scores: np.ndarray, own: np.ndarray) -> None:
        self._speakers = np.stack(
            [np.repeat(own, scores.shape[1]), np.tile(np.arange(scores.shape[1]), len(own))]
        )  # whose clip, and against whom
        order = np.argsort(scores.ravel(), kind="stable")
        ranked = scores.ravel()[order].round(9)
        self._speakers = self._speakers[:, order]
        self._ends = np.flatnonzero(np.append(ranked[1:] > ranked[:-1], True))

    def rates(self, weights: np.ndarray) -> tuple[float, tuple[tuple[float, float], ...]]:
        """The equal error rate and the curve, each speaker counting ``weights`` [S] times; NaN without a stranger."""
        clip, against = self._speakers
        same = clip == against
        genuine = np.where(same, weights[clip], 0.0)
        strange = np.where(same, 0.0, weights[clip] * weights[against])
        if strange.sum() <= 0:
            return float("nan"), ()
        missed = np.append(0.0, np.cumsum(genuine)[self._ends] / genuine.sum())
        taken = np.append(1.0, 1.0 - np.cumsum(strange)[self._ends] / strange.sum())
        return _crossing(missed, taken), _curve(missed, taken)


def _crossing(missed: np.ndarray, taken: np.ndarray) -> float:
    """Where the two rates meet, straight between the thresholds."""
    after = int(np.argmax(missed >= taken))
    gap = missed - taken
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(missed[after - 1] + share * (missed[after] - missed[after - 1]))


def _curve(missed: np.ndarray, taken: np.ndarray) -> tuple[tuple[float, float], ...]:
    """At most ``POINTS`` points, evenly along the thresholds' false acceptances, from nothing to everything."""
    at = np.linspace(0.0, 1.0, POINTS)
    return tuple(zip(at.tolist(), np.interp(at, taken[::-1], 1.0 - missed[::-1]).tolist(), strict=True))


def _interval(trials: _Trials) -> tuple[float, float]:
    """Percentiles of a bootstrap over speakers, a speaker drawn twice not being a stranger to itself."""
    speakers = int(trials._speakers.max()) + 1
    random = np.random.default_rng(SEED)
    draws = random.multinomial(speakers, np.full(speakers, 1 / speakers), size=REPLICATES).astype(np.float64)
    found = np.array([trials.rates(draw)[0] for draw in draws])
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.nanpercentile(found, [tail, 100 - tail])
    return float(low), float(high)
