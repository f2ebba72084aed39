"""The packs of a stage's first steps, as training would get them: read whole first, then decoded as time allows."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deemo_dist.config import RunConfig
from deemo_dist.dataset import Dataset
from deemo_dist.dataset.media import is_remote
from deemo_dist.environ import Placement
from deemo_dist.storage import Store
from pipelines.batches import load_pack, pack_reads
from pipelines.stages import PlannedStage

if TYPE_CHECKING:
    from deemo_dist.model import DeemoLlamaProcessor

READERS = 4
"""Packs that are read at once from a server, which is asked for many members of each; from a disk they are read one
after another, as the loader reads there."""


@dataclass(frozen=True, kw_only=True)
class FirstPacks:
    """The first ``steps`` steps of a stage."""

    config: RunConfig
    dataset: Dataset
    store: Store
    processor: "DeemoLlamaProcessor"
    stage: PlannedStage
    steps: int

    @property
    def places(self) -> list[tuple[int, int, int]]:
        """(step, rank, world) of each pack: as many ranks as packs make each pack one rank's."""
        plan = self.stage.plan
        steps = range(min(self.steps, plan.steps))
        return [(step, rank, plan.packs_per_step) for step in steps for rank in range(len(plan.step(step)))]

    def read(self, seconds: float) -> tuple[int, int]:
        """Read every member that the packs show, by its digest and without decoding: (packs read, samples in them).
        None is begun after ``seconds``. Raises as the loader does."""
        ends = time.perf_counter() + seconds
        given = self.config, self.dataset, self.store, self.processor, self.stage
        reads = [read for step in range(min(self.steps, self.stage.plan.steps)) for read in pack_reads(*given, step)]

        def before_the_end(read: Callable[[], int]) -> int | None:
            return read() if time.perf_counter() < ends else None

        readers = READERS if is_remote(self.store, self.dataset.prefix) else 1
        with ThreadPoolExecutor(readers, thread_name_prefix="first-packs") as pool:
            counts = [count for count in pool.map(before_the_end, reads) if count is not None]
        return len(counts), sum(counts)

    def load(self, seconds: float) -> Sequence[Mapping[str, Any]]:
        """Batches of the packs, decoded and packed: the first one, and those that can be begun within ``seconds``."""
        ends = time.perf_counter() + seconds
        batches: list[Mapping[str, Any]] = []
        for place in self.places:
            if time.perf_counter() > ends and batches:
                break
            batches.append(self._loaded(*place))
        return batches

    def _loaded(self, step: int, rank: int, world: int) -> Mapping[str, Any]:
        """One pack as that rank would get it."""
        config = replace(self.config, engine=replace(self.config.engine, loader_workers=0))
        at = Placement(rank=rank, world=world, local_rank=0, launcher="single", master_addr="127.0.0.1", master_port=0)
        return load_pack(config, self.dataset, self.store, self.processor, self.stage, step, at)


def weight_of(pack: Mapping[str, Any]) -> int:
    """Tokens of a pack."""
    return int(pack["input_ids"].numel())


def shown(pack: Mapping[str, Any]) -> tuple[int, ...]:
    """How a pack's media look apart from their number: 1 for a null medium, 2 for real ones."""
    frames = pack["pixel_values"].shape[1]
    windows, cues = (min(2, len(pack[name])) for name in ("input_features", "cue_values"))
    return (min(2, frames), windows, cues)


def one_of_each(packs: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The packs, those first whose media look like none before."""
    seen: set[tuple[int, ...]] = set()
    later = []
    for pack in packs:
        if shown(pack) in seen:
            later.append(pack)
        else:
            seen.add(shown(pack))
            yield pack
    yield from later
