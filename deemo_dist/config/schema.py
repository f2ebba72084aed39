"""The configuration of a run, typed: every key that a YAML file or an override may set, and what it means.

Frozen keyword-only dataclasses. Defaults are those of the smallest sensible run; values live in ``configs/``.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from deemo_dist.config.fields import operational


@dataclass(frozen=True, kw_only=True)
class StorageConfig:
    """Where things are. ``root``: the project's prefix, file:// or s3://. Credentials: from the environment only.

    ``cache``: a folder on this machine; up to ``cache_mb`` of it for blocks of ``cache_block_kb`` out of the bucket's
    shards, shared by the machine's processes (0: none). Larger blocks mean fewer requests and, on many nodes, more
    bytes read.
    """

    root: str = operational("file://build/demo/store")
    endpoint: str | None = operational(None)
    cache: str = operational("build/cache")
    cache_mb: int = operational(8192)
    cache_block_kb: int = operational(1024)
    requests_per_second: float = operational(400.0)
    retries: int = operational(6)
    timeout_seconds: float = operational(30.0)


@dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """Pinned weights. ``mirror``: a folder or prefix in place of the package registry; ``cache``: a folder."""

    mirror: str | None = operational(None)
    cache: str | None = operational(None)


@dataclass(frozen=True, kw_only=True)
class GatesConfig:
    """What a clip, and then the dataset as a whole, must pass before it is committed. None: reported, not gated.

    A clip: ``residual_faces``, the share of audited frames with a face outside the masks; ``uncertain``, the share of
    poses whose head could not be placed; ``pixel_correlation``, of raw and released pixels inside the masks. The
    dataset: ``face_match``, the share of released faces that match their person; ``rank1_over_chance``, by how much the
    upper 95 % bound of rank-1 may pass chance, for a clear and for a likewise masked gallery; ``pii_recall``, the least
    recall of names that are known to be in the manifest. They look at ``clips`` clips at most;
    where too few people are there to tell, that is said and holds nothing back.
    """

    residual_faces: float = 0.02
    uncertain: float = 0.25
    pixel_correlation: float | None = 0.1
    face_match: float | None = None
    rank1_over_chance: float | None = None
    pii_recall: float | None = None
    clips: int = 240


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """What de-identification does, and when a clip is refused. Its digest is in every attestation.

    ``faces``: an opaque fill, or (not de-identified, to reproduce others) mosaic and blur. ``uncertain``: a body whose
    head is not clear gets its head region masked, its whole frame, or the clip is rejected. ``captions``: burnt-in
    text, looked for every ``captions_seconds`` and at cuts. ``voice``: ``prosody`` leaves none, ``drop`` no sound.
    ``asr``: transcribe clips that came without words. ``mute``: spoken names are cut out of the sound, ``mute_margin``
    seconds around.
    """

    name: str = "standard"
    faces: Literal["fill", "mosaic", "blur"] = "fill"
    detect_every: int = 3
    detect_width: int = 320
    face_threshold: float = 0.2
    dilate: float = 0.2
    hold_frames: int = 6
    mask_heads: bool = True
    uncertain: Literal["head", "frame", "reject"] = "head"
    captions: Literal["mask", "keep"] = "mask"
    captions_seconds: float = 1.0
    voice: Literal["world", "mcadams", "sum", "prosody", "drop"] = "world"
    transcript: Literal["scrub", "drop"] = "scrub"
    asr: Literal["missing", "never"] = "missing"
    mute: bool = True
    mute_margin: float = 0.1
    pii_threshold: float = 0.35
    audit_every: int = 3
    gates: GatesConfig = field(default_factory=GatesConfig)
    allow_demo_key: bool = True
    max_pixels: int = 3840 * 2160
    max_frames: int = 20_000
    max_seconds: float = 600.0
    cpu_seconds: float = 600.0
    memory_mb: int = 4096


@dataclass(frozen=True, kw_only=True)
class KeysConfig:
    """Where the root key of all keyed hashes comes from: an environment variable, a file, or the marked demo key."""

    source: Literal["environment", "file", "demo"] = "environment"
    variable: str = operational("DEEMO_ROOT_KEY")
    path: str | None = operational(None)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The dataset. ``manifest``: URI of the manifest of raw clips (preprocessing only)."""

    name: str = "demo"
    version: str = "v1"
    manifest: str | None = operational(None)
    shard_bytes: int = 64 * 2**20
    allow_weak_policy: bool = False
    failure_budget: float = 0.05


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """Where units of preprocessing run. ``address``: of a Ray cluster, None starts a local one."""

    executor: Literal["local", "ray"] = operational("ray")
    workers: int = operational(2)
    address: str | None = operational(None)
    cpus_per_worker: float = operational(1.0)
    gpus_per_worker: float = operational(0.0)
    memory_mb_per_worker: int = operational(0)
    task: int = operational(0)
    tasks: int = operational(1)


@dataclass(frozen=True, kw_only=True)
class TowerConfig:
    """A part that comes from transformers: ``source`` is ``random``, ``weights:NAME``, a path or a hub name;
    ``type`` its transformers model type; ``settings`` its config's keys (for ``random``)."""

    source: str = "random"
    type: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AudioFeaturesConfig:
    """What the audio tower is given. ``kind``: ``mel`` (Whisper's log-mel), ``pitch`` (a log-frequency spectrum without
    its envelope, and how it moved in pitch since a little before), ``waveform``. ``bins`` a frame of ``window_ms``
    every ``hop_ms``; ``pitch`` gives the last third of its bins to the movement."""

    kind: Literal["mel", "pitch", "waveform"] = "mel"
    bins: int = 80
    window_ms: float = 25.0
    hop_ms: float = 10.0
    min_hz: float = 0.0
    max_hz: float = 8000.0


@dataclass(frozen=True, kw_only=True)
class ProjectorConfig:
    """From tower features to LLM embeddings. ``kind``: mlp (with pooling), qformer, stc (spatial-temporal conv)."""

    kind: Literal["mlp", "qformer", "stc"] = "mlp"
    tokens: int = 4
    hidden: int = 256
    layers: int = 2
    heads: int = 4


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """DEEMO-LLaMA. ``frames`` sampled a clip; ``image_size`` pixels; audio cut in windows of ``audio_window`` seconds
    at most ``audio_windows`` of them; ``cue_frames`` steps of ``cue_keypoints`` body cues at ``cue_rate`` per second.
    ``image_normalise``: by the tower's own mean and deviation, by the clip's, or so with what moves brought out."""

    name: str = "nano"
    llm: TowerConfig = field(default_factory=TowerConfig)
    vision: TowerConfig = field(default_factory=TowerConfig)
    audio: TowerConfig = field(default_factory=TowerConfig)
    tokenizer: str = "builtin"
    video_projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    audio_projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    cue_projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    frames: int = 8
    image_size: int = 64
    image_normalise: Literal["fixed", "clip", "motion"] = "fixed"
    audio_window: float = 4.0
    audio_windows: int = 8
    audio_features: AudioFeaturesConfig = field(default_factory=AudioFeaturesConfig)
    cue_keypoints: int = 22
    cue_frames: int = 32
    cue_rate: float = 8.0
    attention: Literal["auto", "varlen", "flash"] = "auto"


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """A question and its answer, as templates over an annotation: ``{label.emotion}``, ``{text.reasoning}``,
    ``{transcript}``, ``{nfbl}``. ``choices``: the closed set of answers, empty for free text."""

    prompt: str
    answer: str
    choices: tuple[str, ...] = ()
    modalities: tuple[Literal["video", "audio", "cues", "text"], ...] = ("video", "audio", "cues", "text")


@dataclass(frozen=True, kw_only=True)
class NfblTypeConfig:
    """A type of Non-Facial Body Language event, and the rule by which it is proposed (see ``deid.body.nfbl``).

    It lasts while every signal named in ``above`` and ``below`` is beyond its bound, of one hand or of both, for at
    least ``seconds``; interruptions shorter than ``bridge`` seconds do not end it. Without bounds it is never proposed.
    """

    group: Literal["self-manipulation", "manipulation of objects", "self-protective", "other"]
    hands: Literal["one", "both"] = "one"
    above: dict[str, float] = field(default_factory=dict)
    below: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.4
    bridge: float = 0.5


@dataclass(frozen=True, kw_only=True)
class TrainRule:
    """What happens to the parameters a pattern matches: frozen, or trained in full at ``lr`` with ``weight_decay``."""

    mode: Literal["frozen", "full"] = "full"
    lr: float = 1e-3
    weight_decay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One training phase. ``trains``: fnmatch patterns over parameter names -> rule; the last match wins, no match is
    frozen. ``modality_dropout``: chance by which each modality is left out of an example (never all of them)."""

    tasks: tuple[str, ...]
    trains: dict[str, TrainRule]
    epochs: int = 1
    packs_per_step: int = 8
    max_tokens: int = 2048
    max_frames: int = 256
    max_audio_seconds: float = 120.0
    schedule: Literal["cosine", "constant", "wsd"] = "cosine"
    warmup: float = 0.05
    max_grad_norm: float = 1.0
    modality_dropout: float = 0.0
    window: int = 20_000
    validate_every: int = 0
    validation_packs: int = 8


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How the training process runs. ``ranks`` here are local; a launcher's placement wins."""

    ranks: int = operational(2)
    threads: int = operational(1)
    zero_stage: Literal[0, 1, 2, 3] = 3
    precision: Literal["fp32", "bf16"] = "fp32"
    deterministic: bool = True
    gradient_checkpointing: bool = False
    offload: Literal["none", "cpu", "nvme"] = operational("none")
    offload_path: str | None = operational(None)
    deepspeed: dict[str, Any] = operational(factory=dict)
    timeout_seconds: float = operational(600.0)
    watchdog_seconds: float = operational(300.0)
    checkpoint_every: int = operational(50)
    keep_checkpoints: int = operational(2)
    loader_workers: int = operational(0)
    loader_kind: Literal["process", "thread"] = operational("process")
    prefetch: int = operational(4)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured. ``task``: the recognition task; ``explain_task``: the free-text one (None: none)."""

    task: str = "emotion"
    explain_task: str | None = None
    split: str = "test"
    bootstrap: int = 1000
    explanations: int = 4
    max_new_tokens: int = 48
    ablations: bool = True
    preview_clips: int = operational(3)


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
    its node, the place for credentials: they are never written into a job. ``requeues``: how often a job that was
    stopped may come back. ``signal_seconds``: how long before the limit (``minutes``) it is told to write a checkpoint.
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
