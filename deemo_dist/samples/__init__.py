"""Sample clips: generated people with known cues, and real footage dubbed with real speech."""

from deemo_dist.samples.design import bayes_rates, plan_clips
from deemo_dist.samples.generate import WEIGHTS, generate_clips
from deemo_dist.samples.manifest import read_jsonl
from deemo_dist.samples.real import real_clips

__all__ = ["WEIGHTS", "bayes_rates", "generate_clips", "plan_clips", "read_jsonl", "real_clips"]
