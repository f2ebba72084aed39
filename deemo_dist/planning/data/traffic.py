"""Requests and bytes of nodes that read a plan, each through its cache: the loader's own reads, no media moved.

The cache is simulated as :class:`~deemo_dist.dataset.cache.CachedStore` works: blocks of shards, a run of missing ones
by one request, the size of a shard asked once by each process that fetches of it, blocks not used for longest given up.
Processes take turns here, pack by pack. Where they run at once, two may ask for one block together and one of them
waits; how a range is cut into requests may differ then, what is fetched does not.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from deemo_dist.dataset.cache import KEEP, SWEEP
from deemo_dist.dataset.loader import Loader
from deemo_dist.dataset.media import spans


@dataclass(kw_only=True)
class Traffic:
    """What was asked of the store. ``gets`` and ``heads``: requests; ``fetched``: bytes that came; ``reads``: ranges
    that packs needed, of ``wanted`` bytes; ``looked`` and ``found``: blocks looked for in the cache, and found."""

    samples: int = 0
    packs: int = 0
    reads: int = 0
    wanted: int = 0
    gets: int = 0
    heads: int = 0
    fetched: int = 0
    looked: int = 0
    found: int = 0

    @property
    def requests(self) -> int:
        """All requests."""
        return self.gets + self.heads

    def plus(self, other: "Traffic") -> "Traffic":
        """Both together."""
        return Traffic(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})


class Node:
    """A node's cache of at most ``limit`` bytes in blocks of ``block`` bytes (limit 0: none), and what it asked for.

    ``needed``: bytes of a cache that would have kept every block until its window was over, whatever the limit: what a
    sweep leaves of it holds all that the node read in a window.
    """

    def __init__(self, sizes: Mapping[str, int], *, limit: int, block: int) -> None:
        """``sizes``: bytes of each shard."""
        self.sizes, self.limit, self.block = sizes, limit, block
        self.traffic = Traffic()
        self.needed = self.used = 0
        self._touched: set[tuple[str, int]] = set()
        self._window = 0
        self._blocks: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._asked: set[tuple[int, str]] = set()
        self._written: dict[int, int] = {}

    def read(self, process: int, shard: str, start: int, length: int) -> None:
        """A range that a process of the node needs."""
        self.traffic.reads += 1
        self.traffic.wanted += length
        if not self.limit:
            self.traffic.gets += 1
            self.traffic.fetched += length
            return
        missing: list[int] = []
        for number in range(start // self.block, (start + length - 1) // self.block + 1):
            self.traffic.looked += 1
            self._touch(shard, number)
            if (shard, number) in self._blocks:
                self._blocks.move_to_end((shard, number))
                self.traffic.found += 1
            else:
                missing.append(number)
        for place, number in enumerate(missing):
            self.traffic.gets += place == 0 or missing[place - 1] != number - 1
        if missing and (process, shard) not in self._asked:
            self._asked.add((process, shard))
            self.traffic.heads += 1
        for number in missing:
            self._keep(process, shard, number)

    def begin(self) -> None:
        """A new window begins."""
        self._touched.clear()
        self._window = 0

    def _touch(self, shard: str, number: int) -> None:
        if (shard, number) not in self._touched:
            self._touched.add((shard, number))
            self._window += self._size(shard, number)
            self.needed = max(self.needed, math.ceil(self._window / KEEP))

    def _size(self, shard: str, number: int) -> int:
        """Bytes of a block: the last of a shard is short."""
        return min((number + 1) * self.block, self.sizes[shard]) - number * self.block

    def _keep(self, process: int, shard: str, number: int) -> None:
        size = self._size(shard, number)
        self._blocks[shard, number] = size
        self.traffic.fetched += size
        self.used += size
        self._written[process] = self._written.get(process, 0) + size
        if self._written[process] > self.limit * SWEEP:
            self._written[process] = 0
            while self.used > self.limit * KEEP:
                self.used -= self._blocks.popitem(last=False)[1]


def run(loader: Loader, nodes: Sequence[Node], steps: Iterable[int]) -> list[Traffic]:
    """Let every rank of ``loader.world``, dealt evenly over ``nodes`` in their order, read ``steps`` as ``loader``
    would; returns what each step asked, all nodes together. A rank's packs go to its workers in turns."""
    per_node, workers = -(-loader.world // len(nodes)), max(loader.workers, 1)
    turns = [0] * loader.world
    asked: list[Traffic] = []
    before = together(nodes)
    for step in steps:
        for rank in range(loader.world):
            node, loader.rank = nodes[rank // per_node], rank
            for pack in loader.packs(step):
                process = rank * workers + turns[rank] % workers
                turns[rank] += 1
                node.traffic.packs += bool(pack.examples)
                node.traffic.samples += len(pack.examples)
                for shard, start, length in spans(pack.examples):
                    node.read(process, shard, start, length)
        after = together(nodes)
        asked.append(_less(after, before))
        before = after
    return asked


def together(nodes: Sequence[Node]) -> Traffic:
    """What all nodes asked."""
    total = Traffic()
    for node in nodes:
        total = total.plus(node.traffic)
    return total


def _less(after: Traffic, before: Traffic) -> Traffic:
    return Traffic(**{each.name: getattr(after, each.name) - getattr(before, each.name) for each in fields(after)})
