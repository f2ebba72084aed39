"""What a clip must pass before it is released. A check that fails rejects the clip with a stage and a reason."""

from collections.abc import Mapping

import numpy as np

from deemo_dist.config import GatesConfig, PolicyConfig
from deemo_dist.deid.audit.faces import FaceAudit
from deemo_dist.deid.findings import Voice
from deemo_dist.errors import DeidError
from deemo_dist.media import SOUND_RATE, VideoInfo
from deemo_dist.media.container import true_rate

SMALLEST_SIDE = 16
SYNC_SECONDS = 0.020
MOST_PADDING = 0.128  # seconds of one AAC packet at 8 kHz


def check_picture(info: VideoInfo) -> None:
    """Refuse pictures too small to find anybody in. Raises ``DeidError`` (faces: too_small)."""
    if min(info.width, info.height) < SMALLEST_SIDE:
        raise DeidError(f"frames are smaller than {SMALLEST_SIDE} pixels", stage="faces", reason="too_small")


def check_heads(uncertain: int, poses: int, policy: PolicyConfig, *, others: int = 0) -> None:
    """Refuse a clip with too many bodies whose head could not be placed, or, where the policy rejects uncertain clips,
    with one; ``others``: looks at people beside the main person that leave a head unclear, or somebody lost. Raises
    ``DeidError`` (faces: uncertain)."""
    if policy.uncertain == "reject" and others:
        raise DeidError(
            f"{others} looks leave it unclear where the head of somebody is", stage="faces", reason="uncertain"
        )
    share = uncertain / max(1, poses)
    if share > policy.gates.uncertain or (policy.uncertain == "reject" and uncertain):
        raise DeidError(
            f"in {share:.1%} of the poses there is a body whose head could not be placed",
            stage="faces",
            reason="uncertain",
        )


def check_audit(checked: FaceAudit, gates: GatesConfig) -> None:
    """Refuse a clip that cannot be said to be free of faces. Raises ``DeidError`` (audit: residual_face,
    unsure_face, pixel_correlation)."""
    if checked.residual_rate > gates.residual_faces:
        raise DeidError(
            f"after masking the audit still saw a face in {checked.residual_rate:.1%} of its looks",
            stage="audit",
            reason="residual_face",
        )
    if gates.unsure_faces is not None and checked.unsure > gates.unsure_faces:
        raise DeidError(
            f"after masking the audit saw what may be a face in {checked.unsure:.1%} of its looks",
            stage="audit",
            reason="unsure_face",
        )
    correlation, allowed = checked.pixel_correlation, gates.pixel_correlation
    if correlation is not None and allowed is not None and correlation > allowed:
        raise DeidError(
            f"released pixels inside the masks correlate with the raw ones by {correlation:.2f}",
            stage="audit",
            reason="pixel_correlation",
        )


def check_sync(raw: VideoInfo, times: np.ndarray, released: VideoInfo, sound: Voice | None) -> Mapping[str, float]:
    """How far what was written is from what came in: picture's duration (ms), its measured rate (frames over the whole
    clip) and the sound's end (ms), which the raw container tells by its packets. ``times``: of the raw frames.

    A packet of sound may be padding, so the sound may end by one packet (at most 128 ms) more or less. Raises
    ``DeidError`` (encode: out_of_sync) beyond half a frame or 20 ms.
    """
    rate = true_rate(raw.fps, times)
    seconds = float(times[-1] - times[0]) + float(1 / rate)
    paces = (
        _pace(released.frames, released.seconds - float(1 / released.fps)),
        _pace(len(times), float(times[-1] - times[0])),
    )
    figures = {
        "sync_picture_ms": 1000 * abs(released.seconds - seconds),
        "sync_rate_frames": abs(paces[0] - paces[1]) * seconds,
    }
    if sound is not None and raw.sound_end > 0:
        off = abs(sound.samples / SOUND_RATE - raw.sound_end)
        figures["sync_sound_ms"] = 1000 * max(0.0, off - min(raw.sound_step, MOST_PADDING))
    most = 1000 * min(SYNC_SECONDS, 0.5 / float(rate))
    late = max(figures["sync_picture_ms"], figures.get("sync_sound_ms", 0.0)) > most
    if released.frames != len(times) or late or figures["sync_rate_frames"] > 0.5:
        raise DeidError("what was written is not as long as what was read", stage="encode", reason="out_of_sync")
    return figures


def _pace(frames: int, seconds: float) -> float:
    """Frames a second from the first to the last of them, ``seconds`` later: not as a fraction of small numbers, which
    over an hour is frames away. 0 where there is but one."""
    return (frames - 1) / seconds if frames > 1 and seconds > 0 else 0.0
