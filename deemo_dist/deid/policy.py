"""What a policy promises: its digest, its strength, and whether it may be used with a key."""

from deemo_dist.config import PolicyConfig, semantic
from deemo_dist.deid.keys import KeyRing
from deemo_dist.digests import digest_of
from deemo_dist.errors import ConfigError

POLICY_VERSION = 2


def policy_digest(policy: PolicyConfig, key_id: str) -> str:
    """Hex SHA-256 over every setting of the policy and the key's id: rotating the key makes another policy."""
    return digest_of({"version": POLICY_VERSION, "policy": semantic(policy), "key_id": key_id})


def weaknesses(policy: PolicyConfig) -> tuple[str, ...]:
    """Why the policy does not de-identify, one sentence each; empty for a strong one.

    Blur and mosaic are linked against a gallery masked in the same way, McAdams alone falls to an attacker retrained on
    it (VoicePrivacy 2022), and detection outside the measured range leaves faces uncovered.
    """
    checks = (
        (policy.faces != "fill", f"faces are covered by {policy.faces}, which can be linked: only 'fill' removes them"),
        (policy.voice == "mcadams", "McAdams alone is undone by an attacker trained on it"),
        (policy.dilate < 0.1, "boxes are dilated by less than 0.1"),
        (policy.hold_frames < 1, "masks are not held before and after a track"),
        (policy.detect_every > 10, "faces are looked for less often than every tenth frame"),
        (policy.face_threshold > 0.5, "the face threshold is above 0.5"),
        (policy.pii_threshold > 0.6, "the threshold for names and places is above 0.6"),
        (policy.gates.residual_faces > 0.1, "more than a tenth of the audited frames may show a face"),
        (not policy.mask_heads, "heads that only the body shows are not masked"),
        (policy.captions == "keep", "burnt-in text, name plates included, is not masked"),
        (not policy.mute and policy.voice not in ("prosody", "drop"), "names are still spoken in the sound"),
    )
    return tuple(reason for weak, reason in checks if weak)


def policy_strength(policy: PolicyConfig) -> str:
    """``strong`` or ``weak`` (for reproduction only)."""
    return "weak" if weaknesses(policy) else "strong"


def policy_gate(policy: PolicyConfig, ring: KeyRing, *, allow_weak: bool = False) -> None:
    """Refuse, before anything is read, a weak policy that was not asked for, and the demo key where it is not allowed.

    Raises ``ConfigError``.
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
            f"the policy '{policy.name}' is weak: {'; '.join(reasons)}",
            hint="for a reproduction set data.allow_weak_policy=true, else take the policy 'standard'",
        )


def refuse_bad_values(policy: PolicyConfig) -> None:
    """Raise ``ConfigError`` for a value that no policy can mean."""
    bounds: tuple[tuple[str, float, float, float], ...] = (
        ("detect_every", policy.detect_every, 1, 100),
        ("detect_width", policy.detect_width, 64, 4096),
        ("face_threshold", policy.face_threshold, 0.01, 0.99),
        ("dilate", policy.dilate, 0.0, 2.0),
        ("hold_frames", policy.hold_frames, 0, 1000),
        ("pii_threshold", policy.pii_threshold, 0.0, 1.0),
        ("audit_every", policy.audit_every, 1, 1000),
        ("gates.residual_faces", policy.gates.residual_faces, 0.0, 1.0),
        ("gates.uncertain", policy.gates.uncertain, 0.0, 1.0),
    )
    for name, value, low, high in bounds:
        if not low <= value <= high:
            raise ConfigError(f"policy.{name} is {value}", hint=f"between {low:g} and {high:g}")
