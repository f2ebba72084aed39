"""Readers of one cache folder, each a process of its own."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from deemo_dist.config import StorageConfig
from deemo_dist.dataset.cache import CachedStore
from deemo_dist.storage import Store, open_store

BLOCK = 2**16


class FarStore:
    """A store that counts its reads, and whose objects are no files: what a bucket is to the loader."""

    def __init__(self, store: Store, log: Path | None = None) -> None:
        self.store, self.log = store, log
        self.reads: list[tuple[str, int, int]] = []

    def get_range(self, key: str, start: int, length: int) -> bytes:
        self.reads.append((key, start, length))
        if self.log:
            with self.log.open("a") as file:
                file.write(f"{key} {start} {length}\n")
        return self.store.get_range(key, start, length)

    def __getattr__(self, name: str) -> object:
        if name == "local_path" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.store, name)


def read_all(root: str, folder: str, log: str, rounds: int, limit: int) -> None:
    """Read the object ``shards/a.tar`` in odd pieces, over and over, and check every byte."""
    store = open_store(StorageConfig(root=root))
    whole = store.get("shards/a.tar")
    far = CachedStore(FarStore(store, Path(log)), Path(folder), limit=limit, block=BLOCK)  # type: ignore[arg-type]
    for number in range(rounds):
        for start in range(number, len(whole) - 70_000, 50_021):
            assert far.get_range("shards/a.tar", start, 70_000) == whole[start : start + 70_000]
    sys.stdout.write(f"{os.getpid()} done\n")


def main(arguments: Sequence[str]) -> None:
    root, folder, log, rounds, limit = arguments
    read_all(root, folder, log, int(rounds), int(limit))


if __name__ == "__main__":
    main(sys.argv[1:])
