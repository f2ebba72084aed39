"""Units on their way to a worker. Their clips name people (file names, subjects, transcripts), and an executor such as
Ray keeps what it is given in shared memory, in spill files and, when something fails, in its logs."""

from collections.abc import Sequence
from dataclasses import dataclass

from deemo_dist.dataset import plan_units
from deemo_dist.dataset.codec import from_plain, parse_json
from deemo_dist.deid import KeyRing
from deemo_dist.digests import canonical_json
from deemo_dist.records import Clip, Unit


@dataclass(frozen=True, kw_only=True)
class SealedUnit:
    """A unit that only a holder of the root key can read. ``index`` is the unit's."""

    index: int
    content: bytes

    @classmethod
    def of(cls, unit: Unit, ring: KeyRing) -> "SealedUnit":
        """Seal ``unit`` under the dataset's key."""
        return cls(index=unit.index, content=ring.seal(canonical_json(unit)))

    def open(self, ring: KeyRing) -> Unit:
        """The unit. Raises ``ConfigError`` where ``ring`` is of another key."""
        where = f"unit {self.index}"
        return from_plain(Unit, parse_json(ring.unseal(self.content), where), where)


def units_of(clips: Sequence[Clip], ring: KeyRing, shard_bytes: int) -> tuple[Unit, ...]:
    """A dataset's units, its clips in the order of their keys: the place of a row says nothing then. In the manifest's
    order, mostly that of names or files, it would say whose the row is to everybody who knows these."""
    return plan_units(sorted(clips, key=lambda clip: ring.sample_key(clip.uri)), shard_bytes)
