"""What a policy promises: its digest, its strength, and whether it may be used with a key."""

import re

from deemo_dist.config import PolicyConfig, semantic
from deemo_dist.deid.keys import KeyRing
from deemo_dist.deid.text.known import BY_SHAPE
from deemo_dist.digests import digest_of
from deemo_dist.errors import ConfigError

POLICY_VERSION = 7
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
LINKED = {"blur": ".98 (blurred over the whole box)", "mosaic": ".83 (8 cells across the face)"}
"""Rank-1 of an attacker whose gallery is masked in the same way, where an opaque fill gave .38 and guessing .20: dlib's
face embedding over five people in short clips, gallery and probe from the same clip's halves, so the scene helps in
each. A trial of the methods, not of anybody's dataset: what a dataset shows is in its audit's report."""


def policy_digest(policy: PolicyConfig, key_id: str) -> str:
    """Hex SHA-256 over every setting of the policy and the key's id: rotating the key makes another policy."""
    return digest_of({"version": POLICY_VERSION, "policy": semantic(policy), "key_id": key_id})


def weaknesses(policy: PolicyConfig) -> tuple[str, ...]:
    """Why the policy does not de-identify, one clause each; empty for a strong one.

    Blur and mosaic are linked against a gallery masked in the same way (see ``LINKED``), McAdams alone falls to an
    attacker retrained on it (VoicePrivacy 2022), and looking too seldom or too coarsely leaves faces uncovered.
    """
    spoken = policy.voice not in ("prosody", "drop")
    gates = policy.gates
    checks = (
        (policy.faces != "fill", _linked(policy.faces)),
        (policy.voice == "mcadams", "a McAdams voice is linked by an attacker trained on such voices"),
        (policy.dilate < 0.1, "face boxes are dilated by less than 0.1"),
        (policy.hold_frames < 1, "masks are not held before and after a track"),
        (policy.detect_every > 10, "faces are looked for less often than every tenth frame"),
        (policy.detect_width < 160, "faces are looked for on pictures less than 160 pixels wide"),
        (policy.face_threshold > 0.5, "the face threshold is above 0.5"),
        (policy.pii_threshold > BY_SHAPE, f"the threshold for names and places is above {BY_SHAPE}"),
        (policy.audit_every > 30, "fewer than one frame in 30 is audited"),
        (not policy.mask_heads, "heads that only the body shows are not masked"),
        (policy.captions == "keep", "burnt-in text, name plates included, is not masked"),
        (policy.captions_seconds > 2.0, "burnt-in text is looked for less often than every 2 seconds"),
        (spoken and not policy.mute, "names stay spoken in the sound"),
        (spoken and policy.asr == "never", "names stay spoken in clips that came without words"),
        (spoken and policy.mute_margin < 0.05, "less than 0.05 s around a spoken name is cut"),
        (gates.residual_faces > 0.1, "more than a tenth of the audited frames may show a face"),
        (policy.uncertain == "head" and gates.uncertain > 0.5, "most heads of a clip may be missing"),
        (gates.pixel_correlation is None or gates.pixel_correlation > 0.2, "what masks let through is not gated"),
    )
    return tuple(reason for weak, reason in checks if weak)


def _linked(faces: str) -> str:
    """Why a way of covering faces that keeps something of them does not remove them."""
    found = LINKED.get(faces, "more")
    return f"faces under {faces} are not removed: a gallery masked the same way linked {found}, an opaque fill .38"


def policy_strength(policy: PolicyConfig) -> str:
    """``strong``, or ``weak``: not de-identified, for reproduction only."""
    return "weak" if weaknesses(policy) else "strong"


def policy_gate(policy: PolicyConfig, ring: KeyRing, *, allow_weak: bool = False) -> None:
    """Refuse, before anything is read, values out of bounds, the demo key where the policy does not take it, and a weak
    policy that was not asked for. Raises ``ConfigError``.
    """
    refuse_bad_values(policy)
    if ring.demo and not policy.allow_demo_key:
        raise ConfigError(
            f"the policy '{policy.name}' refuses the demo key, which everybody knows",
            hint="set keys.source=environment and DEEMO_ROOT_KEY to a secret of your own",
        )
    reasons = weaknesses(policy)
    if reasons and not allow_weak:
        raise ConfigError(
            f"the policy '{policy.name}' is weak, what it makes is not de-identified: {'; '.join(reasons)}",
            hint="for a reproduction set data.allow_weak_policy=true, else take the policy 'standard'",
        )


def refuse_bad_values(policy: PolicyConfig) -> None:
    """Raise ``ConfigError`` with the key and its range for a value that no policy can mean."""
    if not NAME.fullmatch(policy.name):
        raise ConfigError(
            f"policy.name is '{policy.name}'", hint="1 to 40 letters, digits, dots, dashes and underscores"
        )
    for key, value, low, high in _bounds(policy):
        if value is not None and not low <= value <= high:  # not a number is in no range
            raise ConfigError(f"policy.{key} is {value}", hint=f"between {low:g} and {high:g}")


def _bounds(policy: PolicyConfig) -> tuple[tuple[str, float | None, float, float], ...]:
    """Every number of a policy: key, value, least, most."""
    gates = policy.gates
    return (
        ("detect_every", policy.detect_every, 1, 100),
        ("detect_width", policy.detect_width, 64, 4096),
        ("face_threshold", policy.face_threshold, 0.01, 0.99),
        ("dilate", policy.dilate, 0.0, 2.0),
        ("hold_frames", policy.hold_frames, 0, 1000),
        ("captions_seconds", policy.captions_seconds, 0.05, 60.0),
        ("mute_margin", policy.mute_margin, 0.0, 2.0),
        ("pii_threshold", policy.pii_threshold, 0.0, 1.0),
        ("audit_every", policy.audit_every, 1, 1000),
        ("gates.residual_faces", gates.residual_faces, 0.0, 1.0),
        ("gates.unsure_faces", gates.unsure_faces, 0.0, 1.0),
        ("gates.uncertain", gates.uncertain, 0.0, 1.0),
        ("gates.pixel_correlation", gates.pixel_correlation, 0.0, 1.0),
        ("gates.face_match", gates.face_match, 0.0, 1.0),
        ("gates.rank1_over_chance", gates.rank1_over_chance, 0.0, 1.0),
        ("gates.pii_recall", gates.pii_recall, 0.0, 1.0),
        ("gates.clips", gates.clips, 1, 10**6),
        ("max_pixels", policy.max_pixels, 256, 2**28),
        ("max_frames", policy.max_frames, 1, 10**8),
        ("max_seconds", policy.max_seconds, 0.04, 7 * 86_400.0),
        ("cpu_seconds", policy.cpu_seconds, 1.0, 7 * 86_400.0),
        ("memory_mb", policy.memory_mb, 64, 2**20),
    )
