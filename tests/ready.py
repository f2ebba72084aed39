"""A small real dataset under the demo's policy, for what looks at a run before it trains."""

from dataclasses import replace
from pathlib import Path

from deemo_dist.config import RunConfig, StageConfig, TrainRule, load
from deemo_dist.deid import policy_digest
from deemo_dist.records import Unit
from deemo_dist.storage import open_store
from tests import parts

CLIPS = 12


def run_in(folder: Path, **engine) -> RunConfig:
    """A run of one stage whose store and cache are in ``folder``."""
    config = load("demo", [f"storage.root=file://{folder}/store", f"storage.cache={folder}/cache"])
    rules = {"*projector*": TrainRule(), "*language_model*": TrainRule()}
    stage = StageConfig(tasks=("emotion",), trains=rules, packs_per_step=2, max_tokens=300, modality_dropout=0.5)
    return replace(config, stages={"instruct": stage}, engine=replace(config.engine, **engine))


def prepared_in(folder: Path) -> Path:
    """``folder``, its store with a small real dataset of one shard under the demo's policy."""
    config = run_in(folder)
    clips = parts.clips(CLIPS, split="train", transcript="I say so")
    policy = policy_digest(config.policy, parts.KEY_ID)
    unit = Unit(index=0, clips=tuple(clips))
    parts.dataset(open_store(config.storage), [unit], policy_digest=policy, keypoints=config.model.cue_keypoints)
    return folder
