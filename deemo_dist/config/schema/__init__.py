"""The configuration of a run, typed: every key that a YAML file or an override may set, and what it means.

Frozen keyword-only dataclasses. Defaults are those of the smallest sensible run; values live in ``configs/``.
"""

from deemo_dist.config.schema.data import (
    DataConfig,
    ExecutionConfig,
    GatesConfig,
    KeysConfig,
    MixConfig,
    NfblTypeConfig,
    PolicyConfig,
    StorageConfig,
    WeightsConfig,
)
from deemo_dist.config.schema.model import (
    AudioFeaturesConfig,
    ModelConfig,
    ProjectorConfig,
    TowerConfig,
)
from deemo_dist.config.schema.run import (
    EvaluationConfig,
    LaunchConfig,
    RunConfig,
    TrackingConfig,
)
from deemo_dist.config.schema.training import (
    EngineConfig,
    StageConfig,
    TaskConfig,
    TrainRule,
)

__all__ = [
    "AudioFeaturesConfig",
    "DataConfig",
    "EngineConfig",
    "EvaluationConfig",
    "ExecutionConfig",
    "GatesConfig",
    "KeysConfig",
    "LaunchConfig",
    "MixConfig",
    "ModelConfig",
    "NfblTypeConfig",
    "PolicyConfig",
    "ProjectorConfig",
    "RunConfig",
    "StageConfig",
    "StorageConfig",
    "TaskConfig",
    "TowerConfig",
    "TrackingConfig",
    "TrainRule",
    "WeightsConfig",
]
