"""Reading the media of examples: coalesced ranged reads out of shards, digests checked, then decoded."""

import io
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np

from deemo_dist.dataset.cache import CachedStore
from deemo_dist.dataset.codec import parse_json
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.layout import shard_key
from deemo_dist.errors import CorruptDataError, DatasetError
from deemo_dist.records import Example, IndexRow, LoadedExample, Media, Member

GAP = 64 * 2**10
"""Members of a shard this many bytes apart or nearer are read in one request."""

LARGEST_READ = 32 * 2**20
CONCURRENT = 16
"""Requests that a process has under way at once."""

NEEDED = {"mp4": "video", "flac": "audio", "cues.npy": "cues"}

Group = list[tuple[str, Member]]
Files = dict[tuple[str, str], bytes]
"""Contents by (sample key, extension)."""


def load_examples(
    examples: Sequence[Example], store: Door, prefix: str, *, frames: int | None = None
) -> list[LoadedExample]:
    """Load the media that the examples show, out of the dataset at ``prefix``, in as few reads as its shards allow.

    ``frames``: how many video frames each gets, evenly sampled (None: all). Raises ``DatasetError`` for an example
    without an attestation, ``CorruptDataError`` for bytes without the index's digest or media that do not decode.
    """
    started = time.monotonic()
    files = read_members(examples, store, prefix)
    cost = {"seconds": (time.monotonic() - started) / max(len(examples), 1)}
    return [decode_example(example, files, frames=frames, figures=cost) for example in examples]


def load_example(example: Example, store: Door, prefix: str, *, frames: int | None = None) -> LoadedExample:
    """One example; see :func:`load_examples`."""
    return load_examples([example], store, prefix, frames=frames)[0]


def wanted_members(example: Example) -> list[Member]:
    """The members whose content an example shows, and its JSON, which holds their times."""
    if example.sample.attestation is None:
        raise DatasetError(f"sample {example.key} has no attestation", hint="it is not to be used")
    shown = [member for member in example.sample.members if NEEDED.get(member.extension) in example.modalities]
    return [*shown, *(member for member in example.sample.members if member.extension == "json")] if shown else []


def read_members(examples: Sequence[Example], store: Door, prefix: str) -> Files:
    """Contents of all members that the examples need, each checked by its digest.

    From a server many at once; from a disk one after another, in this thread: two that hash and read wait so often for
    the interpreter's lock that they are slower than one.
    """
    reads = [(shard_key(prefix, shard), group) for shard, group in _groups(examples)]
    each = _readers().map if is_remote(store, prefix) else map
    files: Files = {}
    for found in each(lambda read: _read(store, *read), reads):
        files.update(found)
    return files


def spans(examples: Sequence[Example]) -> list[tuple[str, int, int]]:
    """(shard, offset, bytes) of the reads that these examples need together."""
    found = []
    for shard, group in _groups(examples):
        start, last = group[0][1].offset, group[-1][1]
        found.append((shard, start, last.offset + last.size - start))
    return found


def _groups(examples: Sequence[Example]) -> list[tuple[str, Group]]:
    """The members that examples show, by shard, in groups that are read at once."""
    wanted: dict[str, dict[int, tuple[str, Member]]] = defaultdict(dict)
    for example in examples:
        for member in wanted_members(example):
            wanted[example.sample.shard][member.offset] = (example.key, member)
    return [
        (shard, group)
        for shard, members in sorted(wanted.items())
        for group in coalesce([members[offset] for offset in sorted(members)])
    ]


def is_remote(store: Door, key: str) -> bool:
    """Whether reading waits for a server, so that reads at the same time pay."""
    local_path = getattr(store, "local_path", None)
    return local_path is None or local_path(key) is None


@cache
def _readers() -> ThreadPoolExecutor:
    """The threads of this process that wait for servers."""
    return ThreadPoolExecutor(CONCURRENT, thread_name_prefix="deemo-read")


def coalesce(members: Sequence[tuple[str, Member]]) -> list[Group]:
    """Group members, sorted by offset, that are near enough to read at once."""
    groups: list[Group] = []
    end = start = 0
    for key, member in members:
        if not groups or member.offset - end > GAP or member.offset + member.size - start > LARGEST_READ:
            groups.append([])
            start = member.offset
        groups[-1].append((key, member))
        end = member.offset + member.size
    return groups


def _read(store: Door, shard: str, group: Sequence[tuple[str, Member]]) -> Files:
    """One ranged read, cut into members; once more without the cache where a digest is not the index's."""
    start = group[0][1].offset
    length = group[-1][1].offset + group[-1][1].size - start
    files, wrong = _cut(store.get_range(shard, start, length), start, group)
    if wrong and isinstance(store, CachedStore):
        store.forget(shard, start, length)
        files, wrong = _cut(store.store.get_range(shard, start, length), start, group)
    if wrong:
        raise CorruptDataError(
            f"{shard}: {wrong} does not have the digest of the index",
            hint="the shard is damaged: `deemo dataset verify --deep` names all such members",
        )
    return files


def _cut(data: bytes, start: int, group: Sequence[tuple[str, Member]]) -> tuple[Files, str]:
    """The members out of what was read, and the name of the first without its digest."""
    view = memoryview(data)
    files: Files = {}
    for key, member in group:
        content = view[member.offset - start : member.offset - start + member.size]
        if not member.holds(content):
            return files, f"{key}.{member.extension}"
        files[key, member.extension] = bytes(content)
    return files, ""


def decode_example(
    example: Example, files: Files, *, frames: int | None, figures: Mapping[str, float] | None = None
) -> LoadedExample:
    """Decode what an example shows out of the contents read for it."""
    extensions = [member.extension for member in example.sample.members]
    own = {name: files[example.key, name] for name in extensions if (example.key, name) in files}
    meta = parse_json(own["json"], f"{example.key}.json") if "json" in own else {}
    media = Media()
    if "video" in example.modalities:
        media = _with_video(media, example, own, meta, frames)
    if "audio" in example.modalities:
        media = replace(media, waveform=_waveform(example, own))
    if "cues" in example.modalities:
        media = _with_cues(media, example, own, meta)
    read = {"bytes": float(sum(len(content) for content in own.values()))}
    return LoadedExample(example=example, media=media, figures={**(figures or {}), **read})


def _with_video(
    media: Media, example: Example, files: Mapping[str, bytes], meta: Mapping[str, object], frames: int | None
) -> Media:
    from deemo_dist.media import decode_frames, sample_indices

    sample = example.sample
    indices = np.arange(sample.frames) if frames is None else sample_indices(sample.frames, frames)
    try:
        shown = decode_frames(_member(files, "mp4", example), indices)
    except IndexError:
        raise CorruptDataError(f"the video of sample {example.key} has fewer frames than its index row") from None
    stored = meta.get("frame_times")
    times = np.asarray(stored, np.float64) if isinstance(stored, list) else np.arange(sample.frames) / sample.fps
    return replace(media, frames=shown, frame_times=times[indices])


def _waveform(example: Example, files: Mapping[str, bytes]) -> np.ndarray:
    from deemo_dist.media import decode_flac

    return decode_flac(_member(files, "flac", example))


def _with_cues(media: Media, example: Example, files: Mapping[str, bytes], meta: Mapping[str, object]) -> Media:
    """Body cues and their times, which are spread over the clip where none are stored."""
    try:
        cues = np.load(io.BytesIO(_member(files, "cues.npy", example)), allow_pickle=False)
    except ValueError:
        raise CorruptDataError(f"the body cues of sample {example.key} cannot be read") from None
    stored = meta.get("cue_times")
    sample = example.sample
    seconds = sample.frames / sample.fps
    times = np.asarray(stored, np.float64) if isinstance(stored, list) else np.linspace(0, seconds, len(cues), False)
    return replace(media, cues=cues, cue_times=times)


def _member(files: Mapping[str, bytes], extension: str, example: Example) -> bytes:
    if extension not in files:
        raise CorruptDataError(f"sample {example.key} has no member {extension}", hint="its index row promises one")
    return files[extension]


def load_member(row: IndexRow, store: Door, prefix: str, extension: str) -> bytes:
    """One file of a sample, checked by its digest. Raises ``DatasetError`` where the sample has none of that kind."""
    member = next((member for member in row.members if member.extension == extension), None)
    if member is None:
        raise DatasetError(f"sample {row.key} has no member {extension}")
    return _read(store, shard_key(prefix, row.shard), [(row.key, member)])[row.key, extension]
