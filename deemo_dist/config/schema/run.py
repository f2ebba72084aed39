"""A run: everything together, and how it is judged, tracked and launched."""

from dataclasses import dataclass, field

from deemo_dist.config.fields import operational
from deemo_dist.config.schema.data import (
    DataConfig,
    ExecutionConfig,
    KeysConfig,
    NfblTypeConfig,
    PolicyConfig,
    StorageConfig,
    WeightsConfig,
)
from deemo_dist.config.schema.model import (
    ModelConfig,
)
from deemo_dist.config.schema.training import (
    EngineConfig,
    StageConfig,
    TaskConfig,
)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured. ``task``: the recognition task; ``explain_task``: the free-text one (None: none);
    ``preview_clips``: of how many samples the report shows a masked frame, and of one a film (0: of none)."""

    task: str = "emotion"
    explain_task: str | None = None
    split: str = "test"
    bootstrap: int = 1000
    explanations: int = 4
    max_new_tokens: int = 48
    ablations: bool = True
    preview_clips: int = 3


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """MLflow. ``uri``: a server or sqlite:///...; None keeps an embedded one under ``storage.cache``."""

    uri: str | None = operational(None)
    experiment: str = operational("deemo")
    register_as: str | None = operational(None)
    enabled: bool = operational(True)


@dataclass(frozen=True, kw_only=True)
class LaunchConfig:
    """How ``deemo submit`` asks a cluster for room. Nothing here changes what is computed.

    ``python`` and ``workdir``: as the cluster's nodes see them (None: as here; on a distant Ray, its own). ``setup``:
    shell lines before the command, such as ``module load cuda``. ``environment``: a shell file that the job reads on
    its node, the place for credentials: with it none of the submitting shell's go with the job. ``requeues``: how often
    a job that was stopped may come back. ``signal_seconds``: how long before the limit (``minutes``) it is told to
    write a checkpoint.
    """

    nodes: int = operational(1)
    ranks_per_node: int = operational(1)
    cpus_per_rank: int = operational(1)
    gpus_per_rank: int = operational(0)
    memory_mb_per_rank: int = operational(0)
    tasks: int = operational(1)
    tasks_at_once: int = operational(0)
    minutes: int = operational(1440)
    signal_seconds: int = operational(120)
    requeues: int = operational(20)
    partition: str | None = operational(None)
    account: str | None = operational(None)
    logs: str = operational("build/logs")
    python: str | None = operational(None)
    workdir: str | None = operational(None)
    setup: tuple[str, ...] = operational(())
    environment: str | None = operational(None)
    ray_address: str | None = operational(None)
    ray_wait_seconds: float = operational(600.0)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run: a chain of stages (by name, in their order) over one dataset, and how it is judged."""

    name: str
    seed: int = 0
    storage: StorageConfig = field(default_factory=StorageConfig)
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    keys: KeysConfig = field(default_factory=KeysConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    data: DataConfig = field(default_factory=DataConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    nfbl: dict[str, NfblTypeConfig] = field(default_factory=dict)
    tasks: dict[str, TaskConfig] = field(default_factory=dict)
    stages: dict[str, StageConfig] = field(default_factory=dict)
    engine: EngineConfig = field(default_factory=EngineConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    launch: LaunchConfig = operational(factory=LaunchConfig)
