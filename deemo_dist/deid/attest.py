"""The attestation of a clip: what was done to it and what was measured, out of what the passes found."""

from collections.abc import Mapping

import numpy as np

from deemo_dist.config import PolicyConfig
from deemo_dist.deid.faces.detectors import BlazeFace
from deemo_dist.deid.findings import Heard, Released, Seen
from deemo_dist.deid.policy import policy_digest, policy_strength
from deemo_dist.records import Attestation


def attestation(
    policy: PolicyConfig,
    key_id: str,
    seen: Seen,
    heard: Heard,
    released: Released,
    cues: np.ndarray,
    sync: Mapping[str, float],
) -> Attestation:
    """Attest a clip that has passed its gates."""
    return Attestation(
        policy=policy.name,
        policy_digest=policy_digest(policy, key_id),
        key_id=key_id,
        strength=policy_strength(policy),
        faces=policy.faces,
        voice=policy.voice if heard.seconds else "none",
        transcript="drop" if policy.transcript == "drop" else f"{policy.transcript}:{heard.spoken.source}",
        captions=policy.captions,
        frames=len(seen.times),
        frames_with_face=seen.cover.face_frames,
        masked_area=released.masked_area,
        pii_entities=heard.spoken.entities,
        audited_frames=released.checked.frames,
        residual_face_rate=released.checked.residual_rate,
        audit_detector=BlazeFace.name,
        figures=dict(figures(seen, heard, released, cues) | dict(sync)),
    )


def figures(seen: Seen, heard: Heard, released: Released, cues: np.ndarray) -> dict[str, float]:
    """What was measured, by name; a figure without a meaning for this clip is absent."""
    cover, checked = seen.cover, released.checked
    confidence = cues[..., 2].astype(np.float32)
    tracked = confidence.max(axis=1) > 0
    found: dict[str, float | None] = {
        "face_tracks": float(cover.tracks),
        "masked_frames": float(sum(len(boxes) > 0 for boxes in cover.regions)),
        "caption_frames": float(cover.caption_frames),
        "dark_frames": float(cover.dark_frames),
        "filled_frames": float(cover.filled_frames),
        "uncertain_rate": cover.uncertain / max(1, len(seen.bodies.poses)),
        "unclear_frames": float(cover.unclear_frames),
        "body_frames": float(tracked.mean()),
        "keypoint_confidence": float(confidence[tracked].mean()) if tracked.any() else None,
        "audit_inside_rate": checked.inside,
        "mended_frames": float(released.mended),
        "audit_unsure_rate": checked.unsure,
        "audit_sensitivity": checked.sensitivity,
        "residual_text_rate": checked.residual_text,
        "pixel_correlation": checked.pixel_correlation,
        **heard.spoken.figures,
        **(heard.sound.figures if heard.sound is not None else {}),
    }
    return {name: value for name, value in found.items() if value is not None}
