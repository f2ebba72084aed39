"""What a report shows, as plain data, and how the de-identification figures come out of index and ledger."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deemo_dist.evaluation.driver import Evaluation
from deemo_dist.evaluation.explanations import Explanation
from deemo_dist.records import IndexRow, LedgerRow


@dataclass(frozen=True, kw_only=True)
class DeidFigures:
    """De-identification over a dataset. ``residual_face_rate``: over all audited frames, by ``audit_detector``, which
    did not do the masking; ``worst_residual``: of the worst clip; ``masked_area``: mean share of the picture."""

    clips_in: int
    written: int
    rejected: int
    rejects: Mapping[str, int]
    policies: Mapping[str, int]
    policy_digests: tuple[str, ...]
    key_ids: tuple[str, ...]
    strengths: Mapping[str, int]
    faces: tuple[str, ...]
    voices: tuple[str, ...]
    transcripts: tuple[str, ...]
    frames: int
    frames_with_face: int
    masked_area: float
    audited_frames: int
    residual_face_rate: float
    worst_residual: float
    audit_detectors: tuple[str, ...]
    pii_entities: int
    clips_with_pii: int
    subjects: int
    splits: Mapping[str, int]
    sources: Mapping[str, int]

    @property
    def alone(self) -> bool:
        """Whether every clip is another subject's: then it may be that nobody said who is in which."""
        return self.subjects > 1 and self.subjects == sum(self.splits.values())


def deid_figures(index: Sequence[IndexRow], ledger: Sequence[LedgerRow]) -> DeidFigures:
    """Sum up the attestations of ``index`` and the fates in ``ledger``."""
    proofs = [row.attestation for row in index]
    audited = sum(proof.audited_frames for proof in proofs)
    frames = sum(proof.frames for proof in proofs)
    seen = sum(proof.residual_face_rate * proof.audited_frames for proof in proofs)
    rejected = [row for row in ledger if row.status == "rejected"]
    return DeidFigures(
        clips_in=len(ledger),
        written=len(ledger) - len(rejected),
        rejected=len(rejected),
        rejects=_tally(f"{row.stage or 'unknown'}: {row.reason or 'unknown'}" for row in rejected),
        policies=_tally(proof.policy for proof in proofs),
        policy_digests=_distinct(proof.policy_digest for proof in proofs),
        key_ids=_distinct(proof.key_id for proof in proofs),
        strengths=_tally(proof.strength for proof in proofs),
        faces=_distinct(proof.faces for proof in proofs),
        voices=_distinct(proof.voice for proof in proofs),
        transcripts=_distinct(proof.transcript for proof in proofs),
        frames=frames,
        frames_with_face=sum(proof.frames_with_face for proof in proofs),
        masked_area=sum(proof.masked_area * proof.frames for proof in proofs) / frames if frames else 0.0,
        audited_frames=audited,
        residual_face_rate=seen / audited if audited else float("nan"),
        worst_residual=max((proof.residual_face_rate for proof in proofs), default=float("nan")),
        audit_detectors=_distinct(proof.audit_detector for proof in proofs),
        pii_entities=sum(proof.pii_entities for proof in proofs),
        clips_with_pii=sum(1 for proof in proofs if proof.pii_entities),
        subjects=len({row.subject_key for row in index}),
        splits=_tally(row.split for row in index),
        sources=_tally(row.source for row in index),
    )


def _tally(values: object) -> dict[str, int]:
    return dict(Counter(values).most_common())  # type: ignore[call-overload]


def _distinct(values: object) -> tuple[str, ...]:
    return tuple(sorted(set(values)))  # type: ignore[call-overload]


@dataclass(frozen=True, kw_only=True)
class StageCurve:
    """One stage's losses by global step; ``facts``: what else is known (ranks, trainable parameters, seconds)."""

    name: str
    steps: tuple[int, ...]
    losses: tuple[float, ...]
    validation_steps: tuple[int, ...] = ()
    validation_losses: tuple[float, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG for the contact sheet: frames *after* masking only."""

    png: bytes
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Film:
    """A playable masked clip (mp4) with its disguised speech."""

    mp4: bytes
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything ``write_report`` shows. ``synthetic``: one sentence about synthetic data, empty when there is none;
    ``digests`` and ``mlflow``: names and values as they are to be listed; ``created``: a date as text."""

    title: str
    run_name: str
    created: str
    dataset: str
    model: str
    evaluation: Evaluation
    deid: DeidFigures
    stages: tuple[StageCurve, ...] = ()
    pictures: tuple[Picture, ...] = ()
    film: Film | None = None
    explanations: tuple[Explanation, ...] = ()
    config_yaml: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    mlflow: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    synthetic: str = ""
    notes: tuple[str, ...] = ()
