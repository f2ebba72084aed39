"""What checks know of a run, and how one tells that it did not see all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deemo_dist.config import RunConfig
from deemo_dist.dataset import Dataset
from deemo_dist.storage import Store

if TYPE_CHECKING:
    from deemo_dist.model import DeemoLlamaProcessor
    from pipelines.stages import PlannedStage


@dataclass(frozen=True)
class InPart:
    """What a check found where time was up before it had looked at all: no fault, and no proof."""

    found: str


@dataclass(kw_only=True)
class Known:
    """What the checks found out, for those after them. ``world``: ranks that the training would have; ``gpu``: a kind
    of GPU to check the memory of, None for this machine; ``seconds``: to spend on decoding packs, and on running them;
    ``read_seconds``: on reading them, whatever time that leaves.
    """

    config: RunConfig
    world: int
    steps: int = 2
    seconds: float = 20.0
    read_seconds: float = 60.0
    gpu: str | None = None
    store: Store | None = None
    dataset: Dataset | None = None
    processor: "DeemoLlamaProcessor | None" = None
    stages: "Sequence[PlannedStage]" = ()
    models: dict[str, Any] = field(default_factory=dict)
    batches: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
