"""Where data is and what becomes of it: storage, weights, keys, the policy of de-identification, preprocessing."""

from dataclasses import dataclass, field
from typing import Literal

from deemo_dist.config.fields import operational


@dataclass(frozen=True, kw_only=True)
class StorageConfig:
    """Where things are. ``root``: the project's prefix, file:// or s3://. Credentials: from the environment only.

    ``cache``: a folder on this machine; up to ``cache_mb`` of it for blocks of ``cache_block_kb`` out of the bucket's
    shards, shared by the machine's processes (0: none). Larger blocks mean fewer requests and, on many nodes, more
    bytes read. ``requests_per_second``: of each process, halved when the server asks for less. ``retries`` of a fault
    that may pass: 10 wait some 20 s in all, as long as a server takes to be started again.
    """

    root: str = operational("file://build/demo/store")
    endpoint: str | None = operational(None)
    cache: str = operational("build/cache")
    cache_mb: int = operational(8192)
    cache_block_kb: int = operational(1024)
    requests_per_second: float = operational(400.0)
    retries: int = operational(10)
    timeout_seconds: float = operational(30.0)


@dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """Pinned weights. ``mirror``: a folder or prefix in place of the package registry; ``cache``: a folder."""

    mirror: str | None = operational(None)
    cache: str | None = operational(None)


@dataclass(frozen=True, kw_only=True)
class GatesConfig:
    """What a clip, and then the dataset as a whole, must pass before it is committed. None: reported, not gated.

    A clip: ``residual_faces``, the share of audited frames with a face outside the masks; ``unsure_faces``, of those
    with what may be one; ``uncertain``, the share of poses whose head could not be placed; ``pixel_correlation``, of
    raw pixels and those of the released file inside the masks. The dataset: ``face_match``, the share of released faces
    that match their person; ``rank1_over_chance``, by how much the upper 95 % bound of rank-1 may pass chance, for a
    clear and for a likewise masked gallery; ``pii_recall``, the least recall of names that the manifest knows, and of
    persons, places and contacts that the audit's own reader finds in the raw texts. They look at ``clips`` clips at
    most; where too few people are there to tell, that is said and holds nothing back.
    """

    residual_faces: float = 0.02
    unsure_faces: float | None = None
    uncertain: float = 0.25
    pixel_correlation: float | None = 0.1
    face_match: float | None = None
    rank1_over_chance: float | None = None
    pii_recall: float | None = None
    clips: int = 240


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """What de-identification does, and when a clip is refused. Its digest is in every attestation.

    ``faces``: an opaque fill, or (not de-identified, to reproduce others) mosaic and blur. ``detect_every`` counts
    frames of 25 a second: of a slower clip more are looked at, as many a second; ``audit_every`` frames, of which one
    is looked at every half second at least. ``uncertain``: a body whose head is not clear, anybody's, gets its head
    region masked, its whole frame, or the clip is rejected. ``captions``: burnt-in text, looked for every
    ``captions_seconds``, at cuts, and when strokes come that stay. ``voice``: ``prosody`` leaves none, ``drop`` no
    sound. ``asr``: transcribe clips that came without words. ``mute``: spoken names are cut out of the sound,
    ``mute_margin`` seconds around.
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
class MixConfig:
    """A dataset's share of a stage: by ``epochs``, how often it is shown whole, or by ``weight``; neither: the stage's
    epochs.

    Datasets by weight share by their weights as many examples as they hold together, times the stage's epochs. Beside
    datasets by epochs, a weight is how many of its examples come for each one of all those.
    """

    weight: float | None = None
    epochs: float | None = None


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
class ExecutionConfig:
    """Where units of preprocessing run: ``workers`` processes or actors of Ray, or a SLURM array of ``launch.tasks``.

    ``address``: of a Ray cluster, None starts a local one. ``unit_seconds``: a unit that takes longer is taken from its
    worker and done elsewhere, with twice the time; no clip is rejected for it. ``requests_per_second``: to the store,
    of all workers together; each has its static share, at most ``storage.requests_per_second``. ``raw_folder``: where a
    worker keeps a raw clip while it works on it, None for ``/dev/shm``: a folder in memory (a tmpfs), not a shared one.
    """

    executor: Literal["local", "ray", "slurm"] = operational("ray")
    workers: int = operational(2)
    address: str | None = operational(None)
    cpus_per_worker: float = operational(1.0)
    gpus_per_worker: float = operational(0.0)
    memory_mb_per_worker: int = operational(0)
    unit_seconds: float = operational(7200.0)
    requests_per_second: float = operational(3000.0)
    raw_folder: str | None = operational(None)
    task: int = operational(0)
    tasks: int = operational(1)
