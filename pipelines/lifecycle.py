"""``deemo dataset ls | merge | filter | gc``: what there is, new versions out of others, and what may go."""

import re
from collections.abc import Sequence
from pathlib import Path

from deemo_dist.config import RunConfig
from deemo_dist.console import progress
from deemo_dist.dataset import DatasetInfo
from deemo_dist.dataset.lifecycle import gc
from deemo_dist.dataset.lifecycle.combine import merge, select
from deemo_dist.dataset.lifecycle.condition import parse_condition
from deemo_dist.dataset.lifecycle.pages import stale_pages
from deemo_dist.dataset.lifecycle.versions import TOMBSTONED, UNFINISHED, Version, list_versions, named
from deemo_dist.errors import ConfigError, DeemoError
from deemo_dist.storage import Store, open_store
from deemo_dist.tracking.pictures import SHOWING

SHORTEST_SECONDS = 3600.0
UNITS = {"m": 60.0, "h": 3600.0, "d": 86_400.0}
COLUMNS = ("version", "state", "clips", "samples", "shards", "MB", "policy", "key", "of")


def listing(config: RunConfig) -> str:
    """All versions under the run's prefix, a line each."""
    versions = list_versions(open_store(config.storage))
    if not versions:
        return f"no dataset under {config.storage.root}"
    rows = [COLUMNS, *(_row(version) for version in versions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(version: Version) -> tuple[str, ...]:
    header, info = version.header, version.info
    policy = f"{header.policy} {header.policy_digest[:12]}" if header else "-"
    weak = " (not de-identified)" if header and header.strength != "strong" else ""
    return (
        version.label,
        _state(version),
        str(info.clips if info else header.clips if header else "-"),
        str(info.samples) if info else "-",
        str(info.shards) if info else "-",
        f"{version.bytes / 1e6:.1f}",
        policy + weak,
        f"{header.key_id}{' (demo)' if header.demo_key else ''}" if header else "-",
        _origin(version),
    )


def _state(version: Version) -> str:
    if version.state == UNFINISHED and version.header:
        return f"{UNFINISHED} {version.receipts}/{version.header.units}"
    if version.state == TOMBSTONED and version.tombstone:
        after = f", now {version.tombstone.replaced_by}" if version.tombstone.replaced_by else ""
        return f"{TOMBSTONED} ({version.tombstone.why} {version.tombstone.at[:10]}{after})"
    return version.state


def _origin(version: Version) -> str:
    """What a version was made of."""
    header = version.header
    if header is None:
        return "-"
    if header.derived is None:
        return f"manifest {header.manifest_digest[:12]}"
    sources = ", ".join(f"{source.name}/{source.version}" for source in header.derived.sources)
    erased = f", {header.derived.erased} clips erased" if header.derived.erased else ""
    return f"{header.derived.how} of {sources}{erased}"


def run_merge(config: RunConfig, sources: Sequence[str], into: str, *, first_wins: bool) -> DatasetInfo:
    """Merge versions (``NAME/VERSION``) into a new one. Raises ``DatasetError`` as :func:`merge` does."""
    with progress("merge", None, unit="shards") as bar:
        return merge(
            open_store(config.storage),
            [named(source) for source in sources],
            named(into),
            first_wins=first_wins,
            on_unit=bar.advance,
        )


def run_filter(config: RunConfig, condition: str, into: str) -> DatasetInfo:
    """Make a version of the run's dataset with the samples that fulfil ``condition``."""
    test = parse_condition(condition)
    source = config.data.name, config.data.version
    with progress("filter", None, unit="shards") as bar:
        return select(open_store(config.storage), source, named(into), test, condition, on_unit=bar.advance)


def told(info: DatasetInfo) -> str:
    """A new version as a line."""
    derived = info.header.derived
    left_out = f", {derived.erased} of people who withdrew left out" if derived and derived.erased else ""
    return (
        f"dataset {info.name}/{info.version}: {info.clips} clips = {info.samples} written + {info.rejected} rejected"
        f"{left_out}; digest {info.dataset_digest}; use it: data.name={info.name} data.version={info.version}"
    )


def run_gc(config: RunConfig, *, delete: bool, older_than: str, cache: bool) -> str:
    """What would be removed, or with ``delete`` was, in lines. Raises ``ConfigError`` for an age below an hour."""
    store = open_store(config.storage)
    if cache:
        return _gc_cache(config, store, delete=delete)
    found = gc.garbage(store, older_than=seconds_of(older_than), plans_in_use=_plans_in_use(store))
    if not found:
        return f"nothing to remove that is older than {older_than}"
    lines = [f"{count:7d} objects {size / 1e6:9.1f} MB  {why}" for why, (count, size) in gc.by_reason(found).items()]
    total = sum(each.stored.size for each in found)
    if not delete:
        return "\n".join([*lines, f"{len(found)} objects, {total} bytes; --delete removes them"])
    with progress("remove", len(found), unit="objects") as bar:
        removed = gc.collect(store, found, bar.advance)
    return "\n".join([*lines, f"{removed} objects removed, {total} bytes found"])


def _gc_cache(config: RunConfig, store: Store, *, delete: bool) -> str:
    place = Path(config.storage.cache).absolute()
    if not place.is_dir():
        return (
            f"{place}: there is no cache on this machine, nothing to remove - did jobs run elsewhere? storage.cache is "
            f"'{config.storage.cache}', taken from the working folder unless it starts with /"
        )
    shards, pages = gc.stale_blocks(store, config.storage), stale_pages(store, config.storage, SHOWING)
    if not shards and not pages:
        return f"{place}: nothing to remove"
    told = f"of {len(shards)} shards that no version has, {len(pages)} pages of versions that are no more"
    if not delete:
        return f"{place}: blocks {told}; --delete removes them"
    blocks = gc.drop_blocks(config.storage, shards)
    for page in pages:
        page.unlink(missing_ok=True)
    return f"{place}: {blocks} blocks {told}: removed"


def seconds_of(age: str) -> float:
    """Seconds of ``90m``, ``12h`` or ``7d``. Raises ``ConfigError`` for anything else, and below an hour."""
    found = re.fullmatch(r"(\d{1,6})([mhd])", age.strip())
    seconds = int(found[1]) * UNITS[found[2]] if found else 0.0
    if seconds < SHORTEST_SECONDS:
        raise ConfigError(
            f"--older-than {age} will not do", hint="1h at least, such as 12h or 7d: a job may still be writing"
        )
    return seconds


def _plans_in_use(store: Store) -> set[str]:
    """Digests of the plans that committed checkpoints name."""
    from deemo_dist.training.checkpoint.layout import commit_from_json

    plans: set[str] = set()
    for key in store.list("runs"):
        if key.split("/")[3:4] == ["commits"]:
            try:
                plans.add(str(commit_from_json(store.get(key), key).extra.get("plan_digest")))
            except DeemoError:
                continue
    return plans
