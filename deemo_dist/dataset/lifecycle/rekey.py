"""A version under other keys: every name, and the attestations that say under which key, without the raw clips.

Pictures, cues, transcripts and sound are carried over as they are; each sample's JSON is written anew, so every shard
is. The clips are sorted by their new names and cut into units anew, so that neither the place of a row nor who stands
with whom leads from a new name to an old one. What the old key put into the sound itself, the parameters of a disguised
voice, can only be made anew from the raw clip: such sound is carried over as it is, or left out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from deemo_dist.dataset.codec import parse_json
from deemo_dist.dataset.compact import write_version
from deemo_dist.dataset.info import DatasetHeader, DatasetInfo, begin_version
from deemo_dist.dataset.layout import dataset_prefix
from deemo_dist.dataset.lifecycle.derive import read_sample, units_made
from deemo_dist.dataset.receipts import commit_unit
from deemo_dist.dataset.shards import Shard, ShardWriter
from deemo_dist.digests import canonical_json, digest_of
from deemo_dist.errors import DatasetError
from deemo_dist.records import Annotation, IndexRow, LedgerRow, Receipt
from deemo_dist.storage import Store

DISGUISED = ("world", "mcadams", "sum")
"""Voices whose parameters come from the root key."""

NO_TOOLCHAIN = digest_of([])
"""Of a unit without clips, whose bytes went to its neighbours."""


@dataclass(frozen=True, kw_only=True)
class NewNames:
    """New keys by old ones, and what attestations say from now on. ``drop_voices``: leave disguised sound out."""

    samples: Mapping[str, str]
    subjects: Mapping[str, str]
    key_id: str
    policy_digest: str
    drop_voices: bool = False


def rekey(
    store: Store,
    source: str,
    receipts: Sequence[Receipt],
    into: tuple[str, str],
    header: DatasetHeader,
    names: NewNames,
    on_unit: Callable[[], object] = lambda: None,
    *,
    still: Callable[[], object] = lambda: None,
) -> DatasetInfo:
    """Make the version ``into`` of the ``receipts`` of the one at ``source``, under new names and in their order, in as
    many units; units that are committed already stay. ``still`` is asked once it is begun, and right before it is
    committed, whether it may be made: it raises where not.

    Raises ``DatasetError`` where two clips would get one name, ``CorruptDataError`` for a damaged source.
    """
    keys = [names.samples[row.key] for receipt in receipts for row in receipt.ledger]
    if len(set(keys)) != len(keys):
        raise DatasetError(
            f"{len(keys) - len(set(keys))} clips would get the name of another",
            hint="a merge of datasets that hold the same clips under their own keys cannot be re-keyed into one",
        )
    begin_version(store, *into, header)
    still()
    prefix, cut = dataset_prefix(*into), _cut(receipts, names)

    def make(number: int) -> Receipt:
        return commit_unit(store, prefix, *_unit(store, source, cut[number], names))

    made = units_made(store, prefix, len(cut), make, on_unit)
    return write_version(store, *into, header, _if_still(made, still))


def _if_still(receipts: Iterable[Receipt], still: Callable[[], object]) -> Iterator[Receipt]:
    """``receipts``, and at their end a last question."""
    yield from receipts
    still()


@dataclass(frozen=True)
class _Taken:
    """A clip of the old version: its rows, and the toolchain that its receipt names."""

    ledger: LedgerRow
    index: IndexRow | None
    said: Annotation | None
    toolchain: str

    @property
    def bytes(self) -> int:
        """What its files take."""
        return sum(member.size for member in self.index.members) if self.index else 0


def _cut(receipts: Sequence[Receipt], names: NewNames) -> list[Receipt]:
    """The old rows, in the order of their new names, as so many units of about equal bytes. A unit of several
    toolchains has their names' digest for one."""
    clips = sorted(_clips(receipts), key=lambda clip: names.samples[clip.ledger.key])
    groups: list[list[_Taken]] = [[] for _ in receipts]
    whole, before = sum(clip.bytes + 1 for clip in clips), 0
    for clip in clips:
        groups[before * len(groups) // whole].append(clip)
        before += clip.bytes + 1
    return [_receipt(number, group, names) for number, group in enumerate(groups)]


def _clips(receipts: Sequence[Receipt]) -> Iterator[_Taken]:
    for receipt in receipts:
        index = {row.key: row for row in receipt.index}
        said = {row.key: row for row in receipt.annotations}
        for row in receipt.ledger:
            yield _Taken(row, index.get(row.key), said.get(row.key), receipt.toolchain_digest)


def _receipt(number: int, group: Sequence[_Taken], names: NewNames) -> Receipt:
    """A unit's old rows, under its new number and policy."""
    toolchains = sorted({clip.toolchain for clip in group}) or [NO_TOOLCHAIN]
    return Receipt(
        unit=number,
        tar=None,
        index=tuple(replace(clip.index, unit=number) for clip in group if clip.index),
        ledger=tuple(replace(clip.ledger, unit=number) for clip in group),
        annotations=tuple(clip.said for clip in group if clip.said),
        policy_digest=names.policy_digest,
        toolchain_digest=toolchains[0] if len(toolchains) == 1 else digest_of(toolchains),
    )


def _unit(store: Store, source: str, receipt: Receipt, names: NewNames) -> tuple[Receipt, Shard | None]:
    """A unit under new names, and its shard."""
    writer = ShardWriter(receipt.unit)
    rows: list[IndexRow] = []
    for row in receipt.index:
        new, files = _renamed(row, read_sample(store, source, row), names)
        writer.add(new.key, files)
        rows.append(new)
    shard = writer.finish()
    name, members = (shard.tar.name, shard.members) if shard else ("", {})
    index = tuple(replace(row, shard=name, members=members[row.key]) for row in rows)
    offsets = {row.key: row.members[0].offset for row in index}
    renamed = replace(
        receipt,
        tar=shard.tar if shard else None,
        index=index,
        ledger=tuple(_place(replace(row, key=names.samples[row.key]), name, offsets) for row in receipt.ledger),
        annotations=tuple(replace(row, key=names.samples[row.key]) for row in receipt.annotations),
    )
    return renamed, shard


def _renamed(row: IndexRow, files: Mapping[str, bytes], names: NewNames) -> tuple[IndexRow, dict[str, bytes]]:
    """A sample's index row (its members still the old ones) and files under their new names."""
    attested = replace(row.attestation, key_id=names.key_id, policy_digest=names.policy_digest)
    kept = dict(files)
    seconds = row.audio_seconds
    if names.drop_voices and attested.voice in DISGUISED:
        kept.pop("flac", None)
        seconds, attested = 0.0, replace(attested, voice="none")
    new = replace(
        row,
        key=names.samples[row.key],
        subject_key=names.subjects[row.subject_key],
        attestation=attested,
        audio_seconds=seconds,
    )
    said = {"key": new.key, "subject_key": new.subject_key, "audio_seconds": seconds, "attestation": attested}
    kept["json"] = canonical_json({**parse_json(files["json"], row.key), **said})
    return new, kept


def _place(row: LedgerRow, shard: str, offsets: Mapping[str, int]) -> LedgerRow:
    return replace(row, shard=shard, offset=offsets[row.key]) if row.status == "written" else row
