"""Removing for good: an object with all its older versions, or everything below a folder."""

from dataclasses import dataclass

from deemo_dist.storage import Store


@dataclass(frozen=True)
class Removed:
    """What was removed for good: ``objects`` with their older versions, and their bytes."""

    objects: int = 0
    bytes: int = 0

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(self.objects + other.objects, self.bytes + other.bytes)


def purge(store: Store, prefix: str, *, keep: str = "") -> Removed:
    """Remove everything below a folder for good, with every older version; ``keep`` is a key that stays."""
    removed = Removed()
    for stored in store.history(prefix):
        if stored.key != keep:
            store.remove(stored)
            removed += Removed(1, stored.size)
    return removed


def purge_object(store: Store, key: str) -> Removed:
    """Remove one object for good, with every older version."""
    removed = Removed()
    for stored in store.history(key.rpartition("/")[0]):
        if stored.key == key:
            store.remove(stored)
            removed += Removed(1, stored.size)
    return removed
