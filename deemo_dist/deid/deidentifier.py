"""One clip through all of it: body cues, faces, voice, words, audit, attestation. Fails closed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import numpy as np

from deemo_dist.config import PolicyConfig
from deemo_dist.deid.audit import faces as audit
from deemo_dist.deid.body import cues as body
from deemo_dist.deid.body.people import find_bodies
from deemo_dist.deid.body.pose import PersonDetector, PoseTracker
from deemo_dist.deid.faces import cover as faces
from deemo_dist.deid.faces import masking
from deemo_dist.deid.faces.detectors import BlazeFace, CenterFace
from deemo_dist.deid.keys import KeyRing
from deemo_dist.deid.policy import policy_digest, policy_gate, policy_strength
from deemo_dist.deid.text import transcript
from deemo_dist.deid.voice import disguise as voice
from deemo_dist.errors import DeidError
from deemo_dist.media import DecodedClip
from deemo_dist.records import Attestation, Clip

SMALLEST_SIDE = 16
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class DeidResult:
    """What may leave the process.

    ``frames``: uint8 [T, H, W, 3] masked RGB at ``frame_times`` (float64 [T] seconds), ``fps`` on average;
    ``waveform``: float32 [N], 16 kHz mono, None without sound; ``cues``: float16 [T, 22, 3] with ``cue_times`` float64
    [T]; ``transcript`` and ``texts`` scrubbed.
    """

    frames: np.ndarray
    frame_times: np.ndarray
    fps: float
    waveform: np.ndarray | None
    cues: np.ndarray
    cue_times: np.ndarray
    transcript: str | None
    texts: dict[str, str]
    attestation: Attestation


class Deidentifier:
    """Loads its models once (in a worker) and de-identifies clips one by one; the same input gives the same bytes."""

    def __init__(self, policy: PolicyConfig, ring: KeyRing) -> None:
        """Raises ``ConfigError`` for a policy that refuses the key, ``WeightsError`` for a missing weight."""
        import cv2

        policy_gate(policy, ring, allow_weak=True)  # whether a weak policy is wanted is the run's question
        cv2.setNumThreads(1)
        self._policy = policy
        self._ring = ring
        self._digest = policy_digest(policy, ring.key_id)
        self._faces = CenterFace(width=policy.detect_width, threshold=policy.face_threshold)
        self._people = PersonDetector()
        self._poses = PoseTracker()
        self._auditor = BlazeFace()
        self._scrubber = transcript.Scrubber(threshold=policy.pii_threshold)

    def __call__(self, clip: Clip, decoded: DecodedClip) -> DeidResult:
        """De-identify one decoded clip. Raises ``DeidError`` with a stage and reason for the ledger; any other fault
        of a stage becomes one, so that no raw text or path leaves in a message."""
        frames = _checked(decoded)
        seen = _guarded("faces", self._look, frames, decoded.fps)
        masked = _guarded("faces", masking.mask, frames, seen.cover.regions, kind=self._policy.faces)
        checked = _guarded("audit", self._audit, frames, masked, seen.cover)
        self._gate(seen, checked)
        sound = _guarded("voice", self._voice, clip, decoded)
        words = _guarded("transcript", self._words, clip)
        return DeidResult(
            frames=masked,
            frame_times=decoded.frame_times,
            fps=decoded.fps,
            waveform=None if sound is None else sound.waveform,
            cues=seen.cues,
            cue_times=decoded.frame_times,
            transcript=words.transcript,
            texts=words.texts,
            attestation=self._attest(frames, seen, checked, sound, words),
        )

    def _look(self, frames: np.ndarray, fps: float) -> "_Seen":
        """Bodies first: pose needs the face. Facial landmarks end here, as head boxes."""
        policy = self._policy
        bodies = find_bodies(frames, self._people, self._poses, fps=fps, every=policy.detect_every)
        found = faces.find_faces(frames, self._faces, every=policy.detect_every)
        size = (frames.shape[2], frames.shape[1])
        cover = faces.cover_clip(found, bodies, policy, frames=len(frames), fps=fps, size=size)
        return _Seen(cover=cover, cues=body.cues(bodies, np.arange(len(frames)) / fps), poses=len(bodies.poses))

    def _audit(self, raw: np.ndarray, masked: np.ndarray, cover: faces.Cover) -> audit.FaceAudit:
        known = [number in cover.detected for number in range(len(raw))]
        return audit.audit_faces(
            raw, masked, cover.regions, self._auditor, every=self._policy.audit_every, with_face=known
        )

    def _gate(self, seen: "_Seen", checked: audit.FaceAudit) -> None:
        """Reject what cannot be said to be free of faces."""
        if checked.residual_rate > self._policy.gates.residual_faces:
            raise DeidError(
                f"after masking the audit still saw a face in {checked.residual_rate:.1%} of {checked.frames} frames",
                stage="audit",
                reason="residual_face",
            )
        uncertain = seen.cover.uncertain / max(1, seen.poses)
        if uncertain > self._policy.gates.uncertain:
            raise DeidError(
                f"in {uncertain:.1%} of the poses there is a body whose head could not be placed",
                stage="faces",
                reason="uncertain",
            )

    def _voice(self, clip: Clip, decoded: DecodedClip) -> voice.Disguised | None:
        if decoded.waveform is None:
            return None
        seed = self._ring.voice_seed(clip.uri)
        return voice.disguise(decoded.waveform, decoded.sample_rate, method=self._policy.voice, seed=seed)

    def _words(self, clip: Clip) -> transcript.Scrubbed:
        drop = self._policy.transcript == "drop"
        return self._scrubber(clip.transcript, clip.texts, known=(clip.subject,), drop=drop)

    def _attest(
        self,
        frames: np.ndarray,
        seen: "_Seen",
        checked: audit.FaceAudit,
        sound: voice.Disguised | None,
        words: transcript.Scrubbed,
    ) -> Attestation:
        policy, cover = self._policy, seen.cover
        return Attestation(
            policy=policy.name,
            policy_digest=self._digest,
            key_id=self._ring.key_id,
            strength=policy_strength(policy),
            faces=policy.faces,
            voice=policy.voice if sound is not None else "none",
            transcript=policy.transcript,
            captions="keep",
            frames=len(frames),
            frames_with_face=cover.face_frames,
            masked_area=masking.masked_share(cover.regions, frames.shape[2], frames.shape[1]),
            pii_entities=words.entities,
            audited_frames=checked.frames,
            residual_face_rate=checked.residual_rate,
            audit_detector=BlazeFace.name,
            figures=_figures(seen, checked, sound, len(frames)),
        )


@dataclass(frozen=True)
class _Seen:
    cover: faces.Cover
    cues: np.ndarray
    poses: int


def _figures(seen: _Seen, checked: audit.FaceAudit, sound: voice.Disguised | None, frames: int) -> Mapping[str, float]:
    """What was measured, by name; a figure without a meaning for this clip is absent."""
    confidence = seen.cues[..., 2].astype(np.float64)
    tracked = confidence.max(axis=1) > 0
    figures = {
        "face_tracks": float(seen.cover.tracks),
        "masked_frames": float(sum(len(boxes) > 0 for boxes in seen.cover.regions)),
        "uncertain_rate": seen.cover.uncertain / max(1, seen.poses),
        "body_frames": float(tracked.sum()) / max(1, frames),
        "audit_inside_rate": checked.inside,
        "audit_unsure_rate": checked.unsure,
    }
    if tracked.any():
        figures["keypoint_confidence"] = float(confidence[tracked].mean())
    if checked.sensitivity is not None:
        figures["audit_sensitivity"] = checked.sensitivity
    return figures | (sound.figures if sound is not None else {})


def _checked(decoded: DecodedClip) -> np.ndarray:
    """The frames, if they are frames."""
    frames = decoded.frames
    if frames is None or not len(frames):
        raise DeidError("the clip has no picture", stage="faces", reason="no_video")
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise DeidError("frames are not 8-bit RGB", stage="faces", reason="bad_frames")
    if min(frames.shape[1:3]) < SMALLEST_SIDE:
        raise DeidError(f"frames are smaller than {SMALLEST_SIDE} pixels", stage="faces", reason="too_small")
    if not np.isfinite(decoded.fps) or decoded.fps <= 0:
        raise DeidError("the clip has no frame rate", stage="faces", reason="bad_frames")
    return frames


def _guarded(stage: str, function: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
    """Run one stage; an unforeseen fault rejects the clip and does not quote what it choked on."""
    try:
        return function(*arguments, **keywords)
    except (DeidError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the clip does not pass
        raise DeidError(f"the stage failed with {type(error).__name__}", stage=stage, reason="failed") from None
