"""``deemo resolve``: from keys back to people, for who may read the manifest and holds the root key.

What it finds is personal data: it is printed to standard output, and never logged, tracked or kept.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deemo_dist.config import RunConfig
from deemo_dist.dataset import DatasetHeader, dataset_prefix, read_manifest
from deemo_dist.dataset.codec import from_plain, parse_json
from deemo_dist.dataset.layout import header_key
from deemo_dist.dataset.lifecycle.versions import key_names
from deemo_dist.deid import KeyRing
from deemo_dist.errors import ConfigError, DatasetError, NotFoundError
from deemo_dist.records import Clip
from deemo_dist.storage import open_store

SHORTEST = 8
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A key and whom or what it stands for: ``kind`` is ``sample`` (``name``: the raw clip's URI) or ``subject``
    (``name`` as the manifest has it, ``clips`` of it)."""

    key: str
    kind: str
    name: str
    clips: int = 1


def resolve(keys: Sequence[str], manifest: str | None, config: RunConfig) -> Iterator[Resolved]:
    """What each of ``keys`` stands for, in their order. A key may be its first 8 digits or more, as reports show it.

    Raises ``ConfigError`` for what cannot be a key or without a root key, and, after the known ones, ``DatasetError``
    that names the unknown and the ambiguous ones. No message tells what a key stands for.
    """
    uri = manifest or config.data.manifest
    if not uri:
        raise ConfigError("there is no manifest to look in", hint="--manifest URI, or data.manifest=URI")
    _refuse_no_keys(keys)
    ring = KeyRing.open(config.keys, dataset=config.data.name)
    clips = read_manifest(uri, config.storage)
    known = [each for name in _names(config) for each in _known(clips, ring.of(name))]
    faults: list[str] = []
    for key in keys:
        found = [each for each in known if each.key.startswith(key.lower())]
        if len(found) == 1:
            yield found[0]
        else:
            faults.append(f"{key} is {'unknown' if not found else f'the beginning of {len(found)} keys'}")
    if faults:
        raise DatasetError(
            "; ".join(faults),
            hint=f"is this the dataset's manifest, is data.name '{config.data.name}' its name, and {ring.key_id} the "
            "key_id in its dataset.json?",
        )


def _refuse_no_keys(keys: Sequence[str]) -> None:
    for key in keys:
        if not SHORTEST <= len(key) <= 32 or not _HEX.issuperset(key.lower()):
            raise ConfigError(f"'{key}' is no key", hint=f"32 hexadecimal characters, or the first {SHORTEST} or more")


def _names(config: RunConfig) -> tuple[str, ...]:
    """The dataset names under whose sub-keys the version's keys were made: a merge keeps its sources'. The run's own
    where the version is not begun."""
    name, key = config.data.name, header_key(dataset_prefix(config.data.name, config.data.version))
    try:
        data = open_store(config.storage).get(key)
    except NotFoundError:
        return (name,)
    return key_names(name, from_plain(DatasetHeader, parse_json(data, key), key))


def _known(clips: Sequence[Clip], ring: KeyRing) -> list[Resolved]:
    """Every sample and subject of a manifest by its key."""
    subjects = Counter(clip.subject for clip in clips)
    return [
        *(Resolved(key=ring.sample_key(clip.uri), kind="sample", name=clip.uri) for clip in clips),
        *(
            Resolved(key=ring.subject_key(name), kind="subject", name=name, clips=count)
            for name, count in subjects.items()
        ),
    ]
