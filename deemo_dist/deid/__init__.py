"""De-identification: masked faces, disguised voices, scrubbed words, body cues, keyed names, and an audit of it all.

Nothing heavy is loaded before a ``Deidentifier`` is made.
"""

from deemo_dist.deid.deidentifier import Deidentifier, DeidResult
from deemo_dist.deid.keys import KeyRing
from deemo_dist.deid.meter import STAGES, Meter
from deemo_dist.deid.policy import policy_digest, policy_gate, policy_strength, weaknesses
from deemo_dist.deid.toolchain import WEIGHTS, toolchain

__all__ = [
    "STAGES",
    "WEIGHTS",
    "DeidResult",
    "Deidentifier",
    "KeyRing",
    "Meter",
    "policy_digest",
    "policy_gate",
    "policy_strength",
    "toolchain",
    "weaknesses",
]
