"""The audit of a data set: from what was found in its clips to figures, and to the gates that they pass or not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from deemo_dist.config import GatesConfig
from deemo_dist.deid.audit.clip import RAW, RELEASED, ClipFinding
from deemo_dist.deid.audit.coverage import Coverage, coverage
from deemo_dist.deid.audit.linkage import Linkage, Template, link
from deemo_dist.deid.audit.speakers import SpeakerFigures
from deemo_dist.deid.audit.statistics import Share, exact_interval, share
from deemo_dist.deid.body.linkage import CueLinkage

Outcome = Literal["passed", "failed", "not estimable"]
_NEITHER: Outcome = "not estimable"
CLEAR, ALIKE = "clear", "alike"
FACE, HEAD = "face", "head"
_SEVERITY: tuple[Outcome, ...] = ("passed", "not estimable", "failed")


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Faces masked in one way (``kind``: released, none, mosaic, blur) against a ``gallery``: clear, or masked alike.
    ``crop``: what is compared, the ``face`` alone or the ``head`` with hair and jaw. ``linkage`` is None where fewer
    than two people have two clips with a face."""

    kind: str
    gallery: str
    linkage: Linkage | None
    crop: str = FACE


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One gate: what was ``measured`` and ``allowed``, in words, and the ``outcome``."""

    gate: str
    measured: str
    allowed: str
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A figure over clips: median, 5th and 95th percentile, and how many clips it could be taken from."""

    median: float
    low: float
    high: float
    clips: int


@dataclass(frozen=True, kw_only=True)
class Words:
    """Names that the manifest knows: how many words of names the raw transcripts spell (``there``), and which share of
    them is gone (``recall``, by clip); ``found``, ``found_recall``: the same of whatever a reader of its own takes for
    a person, a place or a contact there, third persons included; ``wer``: word error rate of the same ear on released
    against raw sound, None where nothing was heard; ``heard``: words compared."""

    there: int
    recall: Share
    wer: float | None = None
    heard: int = 0
    found: int = 0
    found_recall: Share | None = None


@dataclass(frozen=True, kw_only=True)
class AuditFigures:
    """Everything that is said of a data set. ``attacks``: on faces; ``picture``: on whole released frames (reported,
    not gated); ``speakers``: attacks on voices, by method of disguise (not gated);
    ``movement``: telling people by their body cues, ``before`` and ``after`` these are normalised;
    ``utility``: by name; ``lost``: raw clips that could not be read; ``policy``, ``policy_digest``: what the data set
    was made by; ``judged_by``: the policy of the run, whose gates are judged by, where that is another one. Nothing
    here is a template, a name or a path."""

    dataset: str
    policy: str
    faces: str
    voice: str
    clips: int
    people: int
    looks: int
    detector: str
    reader: str
    residual: Share
    sensitivity: Share
    correlation: Spread | None
    coverage: Coverage | None
    attacks: tuple[Attack, ...]
    picture: Linkage | None
    words: Words | None
    utility: Mapping[str, Spread]
    speakers: tuple[SpeakerFigures, ...] = ()
    movement: Mapping[str, CueLinkage] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    lost: int = 0
    seconds: float = 0.0
    policy_digest: str = ""
    judged_by: str = ""

    @property
    def other_policy(self) -> str:
        """That the run's policy is not the data set's, in words; empty where it is."""
        if not self.judged_by:
            return ""
        return (
            f"the data set was made by the policy {self.policy} ({self.policy_digest[:12]}), not by this run's, "
            f"{self.judged_by}: gates are those of the run; the data set keeps no gates of its own to be judged by"
        )


def residual(findings: Iterable[ClipFinding]) -> Share:
    """Share of looks at the encoded release in which a face is still found outside the fill, clips as clusters."""
    return share({item.key: [1.0] * item.residual + [0.0] * (item.looks - item.residual) for item in findings})


def sensitivity(findings: Iterable[ClipFinding]) -> Share:
    """Share of looks at the raw frames in which the same detectors find a face: what they are able to see."""
    return share({item.key: [1.0] * item.seen + [0.0] * (item.looks - item.seen) for item in findings})


def face_attacks(findings: Sequence[ClipFinding]) -> tuple[Attack, ...]:
    """Every masking kind against a clear gallery, and every but none against one masked in the same way: on faces, and,
    of the kinds that heads were read in, on heads."""
    with_face = [item for item in findings if item.faces]
    found = list[Attack]()
    for crop in (FACE, HEAD):
        kinds = list(_templates(with_face[0], crop)) if with_face else [RAW, RELEASED]
        pairs = [(kind, gallery) for kind in kinds for gallery in (CLEAR, ALIKE) if (kind, gallery) != (RAW, ALIKE)]
        found += [
            Attack(kind=kind, gallery=gallery, linkage=_faces(with_face, crop, kind, gallery), crop=crop)
            for kind, gallery in pairs
        ]
    return tuple(found)


def _templates(finding: ClipFinding, crop: str) -> Mapping[str, np.ndarray]:
    return finding.faces if crop == FACE else finding.heads


def _faces(findings: Sequence[ClipFinding], crop: str, kind: str, gallery: str) -> Linkage | None:
    enrolled = RAW if gallery == CLEAR else kind
    templates = [
        Template(item.key, item.subject, gallery=of_clip[enrolled], probe=of_clip[kind])
        for item in findings
        for of_clip in (_templates(item, crop),)
    ]
    return link(templates) if gallery == CLEAR else link(templates, threshold=None)


def picture_attack(findings: Sequence[ClipFinding]) -> Linkage | None:
    """Whole released frames against those of other clips: clothing, place and light."""
    return link(
        [Template(item.key, item.subject, gallery=item.picture, probe=item.picture) for item in findings],
        threshold=None,
    )


def true_coverage(findings: Iterable[ClipFinding], given: int = 0) -> Coverage | None:
    """Over all boxes of all clips, of so many ``given``; None where no boxes were."""
    return coverage((value for item in findings for value in item.coverage), given)


def spread(values: Iterable[float]) -> Spread | None:
    """Of one figure over clips; None without any."""
    found = np.array(list(values), dtype=np.float64)
    if not len(found):
        return None
    low, median, high = (float(value) for value in np.percentile(found, [5, 50, 95]))
    return Spread(median=median, low=low, high=high, clips=len(found))


def judge(figures: AuditFigures, gates: GatesConfig) -> tuple[Verdict, ...]:
    """The gates of the data set that are set, each with its outcome; of an attack on faces and one on heads, the worse
    counts."""
    released = [attack for attack in figures.attacks if attack.kind == RELEASED]
    found: list[Verdict] = []
    if (most := gates.face_match) is not None:
        found.append(_worse([_match(attack, most) for attack in _with(released, CLEAR)]))
    if (margin := gates.rank1_over_chance) is not None:
        for gallery in (CLEAR, ALIKE):
            found.append(_worse([_rank(attack, margin) for attack in _with(released, gallery)]))
    if gates.pii_recall is not None:
        found.append(_recall(figures.words, gates.pii_recall))
    return tuple(found)


def _with(attacks: Sequence[Attack], gallery: str) -> list[Attack]:
    """The attacks with a gallery; one without an outcome where there was none."""
    found = [attack for attack in attacks if attack.gallery == gallery]
    return found or [Attack(kind=RELEASED, gallery=gallery, linkage=None)]


def _worse(verdicts: Sequence[Verdict]) -> Verdict:
    return max(verdicts, key=lambda verdict: _SEVERITY.index(verdict.outcome))


def _match(attack: Attack, allowed: float) -> Verdict:
    name, limit, linkage = "released faces that match their person", f"at most {allowed:.0%}", attack.linkage
    if linkage is None or linkage.match is None:
        return Verdict(gate=name, measured="no person with two clips that show a face", allowed=limit, outcome=_NEITHER)
    match = linkage.match
    said = f"{match.value:.1%} of {match.count} clips of {match.clusters} people, by the {attack.crop}"
    return Verdict(gate=name, measured=said, allowed=limit, outcome="failed" if match.value > allowed else "passed")


def _rank(attack: Attack, margin: float) -> Verdict:
    """Failed where even the lower bound is above chance, or where the upper one passes the margin although so many
    people could have shown less; with fewer people, guessing alone would not pass: not estimable."""
    gallery, linkage = attack.gallery, attack.linkage
    name = f"rank-1 with a {gallery} gallery" if gallery == CLEAR else "rank-1 with a gallery masked alike"
    if linkage is None or not linkage.estimable:
        people = 0 if linkage is None else linkage.people
        said = f"{people} people with two clips that show a face"
        return Verdict(gate=name, measured=said, allowed=f"chance + {margin:.2f}", outcome=_NEITHER)
    rank, limit = linkage.rank1, linkage.chance + margin
    said = f"{rank.value:.3f}, 95 %: {rank.low:.3f} to {rank.high:.3f}, {rank.count} clips of {linkage.people} people"
    said += f", by the {attack.crop}"
    enough = exact_interval(1.0, linkage.people)[1] <= limit
    outcome: Outcome = "passed" if rank.high <= limit else "failed" if enough or rank.low > linkage.chance else _NEITHER
    allowed = f"upper bound at most {limit:.3f} (chance {linkage.chance:.3f} + {margin:.2f})"
    return Verdict(gate=name, measured=said, allowed=allowed, outcome=outcome)


def _recall(words: Words | None, least: float) -> Verdict:
    """Of the names that are known and of those that were found, the worse counts; one that no raw text has says
    nothing."""
    name, limit = "names that are gone from the texts", f"at least {least:.0%}"
    readings = () if words is None else (
        ("known to the manifest", words.there, words.recall),
        ("found by the audit's reader", words.found, words.found_recall),
    )  # fmt: skip
    verdicts = [
        Verdict(
            gate=name,
            measured=f"{gone.value:.1%} of {there} {whose}",
            allowed=limit,
            outcome="failed" if gone.value < least else "passed",
        )
        for whose, there, gone in readings
        if there and gone is not None
    ]
    return _worse(verdicts or [Verdict(gate=name, measured="no raw text has one", allowed=limit, outcome=_NEITHER)])
