"""Typed configuration: the schema, loading with bases and overrides, digests."""

from deemo_dist.config.build import build
from deemo_dist.config.fields import operational, semantic
from deemo_dist.config.load import CONFIGS, config_digest, load, to_yaml
from deemo_dist.config.schema import (
    AudioFeaturesConfig,
    DataConfig,
    EngineConfig,
    EvaluationConfig,
    ExecutionConfig,
    KeysConfig,
    LaunchConfig,
    ModelConfig,
    PolicyConfig,
    ProjectorConfig,
    RunConfig,
    StageConfig,
    StorageConfig,
    TaskConfig,
    TowerConfig,
    TrackingConfig,
    TrainRule,
    WeightsConfig,
)

__all__ = [
    "CONFIGS",
    "AudioFeaturesConfig",
    "DataConfig",
    "EngineConfig",
    "EvaluationConfig",
    "ExecutionConfig",
    "KeysConfig",
    "LaunchConfig",
    "ModelConfig",
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
    "build",
    "config_digest",
    "load",
    "operational",
    "semantic",
    "to_yaml",
]
