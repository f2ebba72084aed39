"""The step plan: which packs of examples each global step takes, for any number of ranks.

A function of lengths, shards and settings alone. Step ``s`` is packs [s*G, (s+1)*G) of an endless-looking row of packs
that runs across windows and epochs, of one dataset or of several mixed; the counts of packs a window are tabulated
once, so a step needs only its window.
"""

import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from deemo_dist.config import StageConfig
from deemo_dist.dataset.codec import parse_json
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.instructions import Examples
from deemo_dist.dataset.layout import plan_key
from deemo_dist.dataset.lengths import LengthTable
from deemo_dist.dataset.mixed import MixedExamples
from deemo_dist.dataset.mixing import Mix, MixedWindows
from deemo_dist.dataset.packing import Budget, Packs, check_fits, pack
from deemo_dist.dataset.windows import CHUNK, PACKS, EpochWindows, Groups, Windows, permutation
from deemo_dist.digests import canonical_json, digest_of
from deemo_dist.errors import CorruptDataError, DatasetError, NotFoundError
from deemo_dist.records import Example

PLAN_VERSION = 6
KEPT_WINDOWS = 3
KEPT_STEPS = 16


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """What a plan depends on besides lengths: ``packs_per_step`` is G, ``window`` the least examples of a window."""

    seed: int
    epochs: int
    packs_per_step: int
    budget: Budget
    window: int = 20_000


class StepPlan:
    """The packs of each global step. ``digest`` names it; ``steps`` counts them, and the last one may be short."""

    def __init__(
        self,
        lengths: LengthTable,
        shards: np.ndarray | Groups | Mix,
        settings: PlanSettings,
        *,
        store: Door | None = None,
    ) -> None:
        """``shards``: the shard number of each example, integers [N], or the groups they make; or several datasets'
        groups and how much each gives, which takes the place of the settings' epochs. With ``store``, the table of
        packs is kept there.

        Raises ``DatasetError`` for no examples, settings below 1, or an example that no pack can hold;
        ``CorruptDataError`` for a kept table that cannot be right, as later does whatever packs a window of which it
        gives a wrong count.
        """
        self.lengths, self.settings = lengths, settings
        made_of = shards if isinstance(shards, Groups | Mix) else Groups.of(shards)
        _check(lengths, made_of.examples, settings)
        if any(most > limit for most, limit in zip(lengths.largest(), settings.budget.as_integers(), strict=True)):
            _check_fits(lengths, settings.budget)
        self._steps: OrderedDict[int, list[tuple[int, ...]]] = OrderedDict()
        self._kept: OrderedDict[int, tuple[Packs, np.ndarray]] = OrderedDict()
        self.digest = digest_of(
            {
                "version": PLAN_VERSION,
                "lengths": lengths.digest,
                "shards": made_of.digest,
                "settings": settings,
            }
        )
        self._key = plan_key(self.digest)
        table = _stored(store, self._key)
        if isinstance(made_of, Mix):
            starts = table.get("starts")
            self._windows: Windows = MixedWindows(made_of, settings.seed, settings.window, starts, self._key)
        else:
            self._windows = EpochWindows(made_of, settings.seed, settings.epochs, settings.window)
        self._said = table_of_packs(table, self._key, windows=len(self._windows)) if table else None
        counts = self._counted(store) if self._said is None else self._said
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @property
    def packs_per_step(self) -> int:
        """G: packs of a full step."""
        return self.settings.packs_per_step

    @property
    def packs(self) -> int:
        """Packs of the whole plan."""
        return int(self._starts[-1])

    @property
    def steps(self) -> int:
        """Global steps of the whole plan."""
        return -(-self.packs // self.packs_per_step)

    @property
    def windows(self) -> int:
        """Windows of the whole plan."""
        return len(self._windows)

    def window(self, number: int) -> Packs:
        """The packs of a window, counted over all epochs, by example numbers."""
        return self._window(number)[0]

    def step(self, step: int) -> list[tuple[int, ...]]:
        """The packs (example numbers) of a step, dearest first by ``Budget.work``: the same for any number of ranks.

        Raises ``DatasetError`` for a step the plan does not have.
        """
        if not 0 <= step < self.steps:
            raise DatasetError(f"there is no step {step} in a plan of {self.steps} steps")
        if step not in self._steps:
            self._steps[step] = self._step(step)
            while len(self._steps) > KEPT_STEPS:
                self._steps.popitem(last=False)
        return list(self._steps[step])

    def _step(self, step: int) -> list[tuple[int, ...]]:
        """The packs of a step that the plan has."""
        first = step * self.packs_per_step
        found = [self._pack(number) for number in range(first, min(first + self.packs_per_step, self.packs))]
        cost = np.array([cost for _, cost in found])
        order = np.lexsort((-cost[:, 2], -cost[:, 1], -cost[:, 0], -self.settings.budget.work(cost)))
        return [tuple(found[number][0].tolist()) for number in order.tolist()]

    def slice(self, step: int, rank: int, world: int) -> list[tuple[int, ...] | None]:
        """What ``rank`` of ``world`` does in a step: one pack a micro-step, None for a null pack.

        Every rank has the same number of entries, ceil(G / world). Micro-step m takes packs [m*world, (m+1)*world) of
        :meth:`step`, which are of like cost. Raises ``DatasetError`` for more ranks than packs.
        """
        micro = self.micro_steps(world)
        if not 0 <= rank < world:
            raise DatasetError(f"rank {rank} of {world} ranks makes no sense")
        packs: list[tuple[int, ...] | None] = list(self.step(step))
        packs += [None] * (micro * world - len(packs))
        return packs[rank::world]

    def micro_steps(self, world: int) -> int:
        """M = ceil(G / world). Raises ``DatasetError`` for more ranks than packs a step."""
        if not 0 < world <= self.packs_per_step:
            raise DatasetError(
                f"{world} ranks cannot share {self.packs_per_step} packs a step",
                hint="use fewer ranks, or raise the stage's packs_per_step (which changes the run)",
            )
        return -(-self.packs_per_step // world)

    def targets(self, step: int) -> int:
        """Target tokens of a step over all ranks: what the summed loss is divided by."""
        return int(sum(int(self.lengths.targets[list(items)].sum()) for items in self.step(step)))

    def tokens(self, step: int) -> int:
        """Tokens of a step over all ranks."""
        return int(sum(int(self.lengths.tokens[list(items)].sum()) for items in self.step(step)))

    def _pack(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Pack ``number`` of the whole plan: its examples, and what it costs (int64 [3])."""
        flat = int(np.searchsorted(self._starts, number, side="right")) - 1
        packs, costs = self._window(flat)
        place = number - int(self._starts[flat])
        return packs[place], costs[place]

    def _window(self, flat: int) -> tuple[Packs, np.ndarray]:
        """The packs of a window, counted over all epochs, and their costs (int64 [P, 3]); the last few are kept."""
        if flat not in self._kept:
            packs = self._make(flat)
            self._refuse_other(flat, len(packs))
            costs = self.lengths.costs(packs.items)
            self._kept[flat] = packs, np.add.reduceat(costs, packs.offsets[:-1], axis=0)
            while len(self._kept) > KEPT_WINDOWS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(flat)
        return self._kept[flat]

    def _make(self, flat: int) -> Packs:
        """Permute, pack, and shuffle the packs of a window."""
        examples = self._windows.examples(flat)
        packed = pack(self.lengths.costs(examples), self.settings.budget)
        order = permutation(len(packed), self.settings.seed, PACKS, *self._windows.place(flat))
        lengths = np.diff(packed.offsets)[order]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        starts = np.repeat(packed.offsets[:-1][order] - offsets[:-1], lengths)
        return Packs(items=examples[packed.items[starts + np.arange(len(examples))]], offsets=offsets)

    def _refuse_other(self, window: int, packs: int) -> None:
        """Raise ``CorruptDataError`` where the table that was kept gives a window another count of packs: by it, packs
        would be left out or come at another step."""
        if self._said is not None and self._said[window] != packs:
            raise CorruptDataError(
                f"{self._key}: window {window} has {packs} packs, and {self._said[window]} by the table",
                hint="delete the table: it is counted anew; what was trained by it did not see the packs of this plan",
            )

    def _counted(self, store: Door | None) -> list[int]:
        """Packs of each window, counted and put into the store: many windows at once where there are more than are
        kept."""
        windows = range(len(self._windows))
        if len(windows) <= KEPT_WINDOWS:
            counts = [len(self._window(flat)[0]) for flat in windows]
        else:
            with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="deemo-plan") as threads:
                counts = list(threads.map(lambda flat: len(self._make(flat)), windows))
        if store is not None:
            made_of = {"lengths": self.lengths.digest, "measured": self.lengths.measured}
            found = {"version": PLAN_VERSION, "packs": counts, "packs_digest": digest_of(counts), **made_of}
            store.put(self._key, canonical_json({**found, **self._windows.stored()}))
        return counts


def _stored(store: Door | None, key: str) -> dict[str, Any]:
    """The table kept under ``key``; empty where there is none."""
    if store is not None:
        with suppress(NotFoundError):
            return parse_json(store.get(key), key)
    return {}


def table_of_packs(value: dict[str, Any], key: str, *, windows: int | None = None) -> list[int]:
    """Packs of each window, of a stored table of that many ``windows`` (None: of any number). Raises
    ``CorruptDataError`` for what is none, or has not the digest that it names (older ones name none)."""
    counts: Any = value.get("packs")
    right = isinstance(counts, list) and bool(counts) and all(type(n) is int and n > 0 for n in counts)
    if not right or (windows is not None and len(counts) != windows):
        of = "the packs of windows" if windows is None else f"{windows} windows"
        raise CorruptDataError(f"{key}: not a table of {of}", hint="delete it: it is counted anew")
    if value.get("packs_digest", digest := digest_of(counts)) != digest:
        raise CorruptDataError(f"{key}: its counts are not those it names", hint="delete it: it is counted anew")
    return list(counts)


def _check_fits(lengths: LengthTable, budget: Budget) -> None:
    """Raise as ``check_fits`` does, of all lengths, of which some are over budget."""
    over = [np.zeros((0, 3), np.int64)]
    for start in range(0, len(lengths), CHUNK):
        costs = lengths.costs(np.arange(start, min(start + CHUNK, len(lengths))))
        over.append(costs[(costs > budget.as_integers()).any(axis=1)])
    check_fits(np.concatenate(over), budget)


def _check(lengths: LengthTable, examples: int, settings: PlanSettings) -> None:
    if not len(lengths) or examples != len(lengths):
        raise DatasetError(f"a plan needs examples: {len(lengths)} lengths, {examples} shard numbers")
    for name in ("epochs", "packs_per_step", "window"):
        if getattr(settings, name) < 1:
            raise DatasetError(f"{name} is {getattr(settings, name)}", hint="1 at least")


def budget_of(stage: StageConfig) -> Budget:
    """What a pack of a stage may hold."""
    return Budget(tokens=stage.max_tokens, frames=stage.max_frames, audio_seconds=stage.max_audio_seconds)


def plan_stage(
    examples: Sequence[Example],
    lengths: LengthTable,
    stage: StageConfig,
    *,
    seed: int,
    epochs: int | None = None,
    packs_per_step: int | None = None,
    store: Door | None = None,
) -> StepPlan:
    """A stage's plan over ``examples``; ``epochs`` (of every dataset alike, whatever the mix) and ``packs_per_step``
    override the stage's (for validation)."""
    settings = PlanSettings(
        seed=seed,
        epochs=stage.epochs if epochs is None else epochs,
        packs_per_step=stage.packs_per_step if packs_per_step is None else packs_per_step,
        budget=budget_of(stage),
        window=stage.window,
    )
    if isinstance(examples, MixedExamples):
        mix = examples.mix(stage.mix if epochs is None else {}, settings.epochs)
        return StepPlan(lengths, mix, settings, store=store)
    return StepPlan(lengths, _groups(examples), settings, store=store)


def _groups(examples: Sequence[Example]) -> Groups:
    """The examples by shard."""
    if isinstance(examples, Examples):
        return examples.groups
    return Groups.of(np.array([example.sample.unit for example in examples], np.int64))
