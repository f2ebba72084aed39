"""What the training of one stage is handed, and what it hands back. No torch here."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from deemo_dist.config import EngineConfig, StageConfig, TrainRule
from deemo_dist.environ import Placement

if TYPE_CHECKING:
    from torch import nn

    from deemo_dist.storage import Store
    from deemo_dist.training.checkpoint.layout import Commit


@dataclass(frozen=True, kw_only=True)
class StepBatches:
    """This rank's share of one global step.

    ``batches``: M keyword dicts for the model, one a micro-step, null packs included; ``targets``: tokens that carry
    loss in the *whole* step, over all ranks; ``packs``: global number of each pack within the step, -1 for a null pack
    (seeds dropout; empty: micro * world + rank); ``tokens`` and ``samples``: this rank's, for throughput alone
    (``tokens`` 0: counted from ``input_ids``, null packs apart); ``keys``: names of the examples in them, for the
    consumption ledger; ``flops``: operations that the model needs for this rank's packs (0: not known).
    """

    batches: Sequence[Mapping[str, Any]]
    targets: int
    packs: tuple[int, ...] = ()
    tokens: int = 0
    samples: int = 0
    keys: tuple[str, ...] = ()
    flops: float = 0.0


BatchFactory = Callable[[int, Placement], Iterator[StepBatches]]


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One stage to train, whole.

    ``model``: a torch module, or a callable that makes one (cut among the ranks as it is built, with
    ``engine.partition_at_build``); ``model(**batch, num_items_in_batch=x).loss`` is the sum of token losses / x.
    ``batches(start_step, placement)`` yields the steps from ``start_step`` on, ``total_steps`` in all.
    ``validation(placement)`` gives the same batches whenever called; None: no validation.
    ``stage_key``: digest of what the stage depends on (semantic config, parents, plans): a checkpoint that has another
    is refused. ``before``: the rules of the stages before, whose adapters this one takes over.
    ``prefix``: key prefix of the stage in ``store`` (``runs/{run}/{stage}``); ``run_prefix``: of the run, where
    attempts are counted. ``parents``: final commits of the stages before, in order, whose weights the model starts
    with.
    ``callbacks``: called on this rank; hand them to rank 0 alone where only one may speak. ``before_commit``: called on
    the saver's thread of rank 0 just before each commit is put, and may not raise.
    ``extra``: plain data kept in every commit (digests).
    """

    name: str
    stage: StageConfig
    engine: EngineConfig
    seed: int
    model: "nn.Module | Callable[[], nn.Module]"
    batches: BatchFactory
    total_steps: int
    store: "Store"
    run_prefix: str
    prefix: str
    stage_key: str
    validation: Callable[[Placement], Iterable[StepBatches]] | None = None
    parents: "tuple[Commit, ...]" = ()
    before: tuple[Mapping[str, TrainRule], ...] = ()
    callbacks: "tuple[Callback, ...]" = ()
    before_commit: Callable[[], None] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    attempt: int | None = None


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One global step, as every rank knows it.

    ``step`` counts from 0; ``loss`` is the mean over the step's target tokens; ``lr`` by group label; ``grad_norm``
    before clipping (inf when skipped); ``data_wait_seconds`` the mean over ranks; ``step_seconds`` with that wait but
    without ``validation_seconds``, and what throughput and ``mfu`` are over; ``rss_bytes`` this process's resident
    memory, ``peak_rss_bytes`` the most it ever was; ``device_bytes`` peak on the accelerator (0 on a CPU); ``skipped``:
    the update was left out (non-finite). ``mfu``: share of the ranks' measured peak that the model's own operations are
    (None: not known); ``padding``: share of the packs' token budget that holds no token; ``part_norms``: of gradients
    before clipping, by part of the model, at every tenth step.
    """

    step: int
    total_steps: int
    loss: float
    lr: Mapping[str, float]
    grad_norm: float
    targets: int
    tokens_per_second: float
    samples_per_second: float
    data_wait_seconds: float
    step_seconds: float
    rss_bytes: int
    device_bytes: int
    skipped: bool
    skipped_total: int
    validation_loss: float | None = None
    validation_seconds: float = 0.0
    mfu: float | None = None
    padding: float = 0.0
    peak_rss_bytes: int = 0
    part_norms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CommitInfo:
    """A committed checkpoint: ``step`` steps are done; ``key`` is that of the commit object."""

    step: int
    attempt: int
    key: str


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """How a stage ended.

    ``first_loss`` and ``last_loss`` are those of this attempt's steps, None when there were none (the stage was
    already done). ``start_step`` is where this attempt took up. ``save_stall_seconds``: time that saving kept the loop.
    """

    name: str
    ranks: int
    zero_stage: int
    steps: int
    start_step: int
    first_loss: float | None
    last_loss: float | None
    trainable_params: int
    total_params: int
    skipped_steps: int
    best_validation: float | None
    best_step: int | None
    commit: CommitInfo
    seconds: float
    save_stall_seconds: float


class Callback(Protocol):
    """Listens to one stage. Called on the main thread between steps: be quick, and raise only to end the run."""

    def on_start(self, spec: StageSpec, *, start_step: int, attempt: int, trainable: dict[str, int]) -> None:
        """The engine stands; ``trainable``: parameters by rule, and their ``total``."""

    def on_step(self, report: StepReport) -> None:
        """A step is done (or was skipped)."""

    def on_checkpoint(self, commit: CommitInfo) -> None:
        """A checkpoint is committed."""

    def on_end(self, result: StageResult) -> None:
        """The stage is done and its last checkpoint committed."""
