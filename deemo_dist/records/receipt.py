"""A unit of preprocessing and its receipt: the commit of a shard."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from deemo_dist.records.clip import Clip
from deemo_dist.records.digested import Digested
from deemo_dist.records.sample import Annotation, IndexRow, LedgerRow

RECEIPT_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The clips of one shard: a function of the manifest and the root key alone. ``index`` counts from 0."""

    index: int
    clips: tuple[Clip, ...]


@dataclass(frozen=True, kw_only=True)
class TarReceipt(Digested):
    """The shard a receipt commits: its file name under ``shards/``, size in bytes and digest."""

    name: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What became of a unit. Written after the tar by put-if-absent; ``tar`` is None when every clip was rejected.

    ``statistics`` holds figures about the work (seconds by stage, bytes); they differ between reruns and are left out
    of every digest.
    """

    unit: int
    tar: TarReceipt | None
    index: tuple[IndexRow, ...]
    ledger: tuple[LedgerRow, ...]
    annotations: tuple[Annotation, ...]
    policy_digest: str
    toolchain_digest: str
    statistics: Mapping[str, float] = field(default_factory=dict)
    version: int = RECEIPT_VERSION
