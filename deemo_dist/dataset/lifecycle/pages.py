"""Pages in a machine's cache: previews, reports and results. An erasure cleans the cache of the machine it runs on; a
page on another that shows a version which is no more is found here, without the keys that it may show."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from deemo_dist.config import StorageConfig
from deemo_dist.dataset.layout import tombstone_key
from deemo_dist.dataset.lifecycle.versions import TOMBSTONED, Version, list_versions
from deemo_dist.storage import Store

PREVIEWS = "previews"
PLACES = (PREVIEWS, "runs", "tracking/artifacts", "tracking/spool")
"""Folders of the cache that have pages in them. What else lies there shows nobody, or is no page."""

DIGEST = 12
"""Digits of a dataset's digest that a page shows at least."""


def stale_pages(store: Store, config: StorageConfig, kinds: Sequence[str]) -> list[Path]:
    """Files of this machine's cache whose names end in one of ``kinds`` and that show a version which is no more.

    A preview's name tells its version, the digest in a report that of its dataset. Where neither does, whatever is not
    younger than the newest tombstone counts as such.
    """
    found = [path for path in _pages(Path(config.cache)) if path.name.endswith(tuple(kinds))]
    if not found:
        return []
    versions = list_versions(store)
    standing = [version for version in versions if version.state != TOMBSTONED]
    previews = {f"{version.name}-{version.version}" for version in standing}
    digests = {version.info.dataset_digest[:DIGEST].encode() for version in standing if version.info}
    ended = _newest_tombstone(store, versions)
    place = Path(config.cache) / PREVIEWS
    return [
        path
        for path in found
        if (path.stem not in previews if path.parent == place else _is_stale(path, digests, ended))
    ]


def _pages(cache: Path) -> Iterator[Path]:
    for place in PLACES:
        for path in sorted((cache / place).rglob("*")):
            waits = place.endswith("spool") and path.suffix == ".jsonl"  # figures that no server took yet: no page
            if path.is_file() and not waits:
                yield path


def _newest_tombstone(store: Store, versions: Sequence[Version]) -> float:
    """When the last version ended, by this machine's clock; 0 where none did."""
    stones = [version.entries[tombstone_key(version.prefix)] for version in versions if version.state == TOMBSTONED]
    ahead = store.clock() - time.time() if stones else 0.0
    return max((stone.modified - ahead for stone in stones), default=0.0)


def _is_stale(path: Path, digests: set[bytes], ended: float) -> bool:
    """Whether a page shows no dataset that stands, and is older than the last one that does not."""
    if path.stat().st_mtime > ended:
        return False
    shown = path.read_bytes()
    return not any(digest in shown for digest in digests)
