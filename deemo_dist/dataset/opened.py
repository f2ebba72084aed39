"""A dataset opened for reading: refused unless every sample carries an attestation of a policy that is allowed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deemo_dist.dataset.codec import read_table
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.info import DatasetInfo, PartFile, read_info
from deemo_dist.dataset.rows import ByKey, Rows, joined
from deemo_dist.dataset.windows import CHUNK
from deemo_dist.digests import sha256_bytes
from deemo_dist.errors import CorruptDataError, DatasetError, NotFoundError
from deemo_dist.records import Annotation, IndexRow, LedgerRow
from deemo_dist.records.sample import ANNOTATION_SCHEMA, INDEX_SCHEMA, LEDGER_SCHEMA

T = TypeVar("T")
REBUILD = "run again what made the version (preprocess, merge, filter, rotate): its receipts hold all rows"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A complete dataset: ``index`` in the order of units, ``annotations`` by sample key, ``ledger`` one row a clip.

    All three stay in their tables; a record is made when it is asked for. ``store``: where the ledger is read, by who
    asks for it.
    """

    info: DatasetInfo
    index: Rows[IndexRow]
    annotations: ByKey[Annotation]
    store: Door

    @cached_property
    def ledger(self) -> Rows[LedgerRow]:
        """What became of each clip; read when it is first asked for. Raises ``CorruptDataError`` for damaged parts."""
        ledger = read_parts(self.store, LedgerRow, self.info.ledger, LEDGER_SCHEMA)
        if len(ledger) != self.info.clips:
            raise CorruptDataError(f"{self.prefix}: the ledger does not have the rows that dataset.json counts")
        return ledger

    @property
    def prefix(self) -> str:
        """The version's prefix in the store."""
        return self.info.prefix

    @property
    def digest(self) -> str:
        """Digest of samples and ledger; the overlay's is ``info.annotations_digest``."""
        return self.info.dataset_digest

    def split(self, name: str) -> Rows[IndexRow]:
        """The rows of one split."""
        return self.index.take(self.split_numbers(name))

    def split_numbers(self, name: str) -> np.ndarray:
        """Numbers of one split's rows in the index, ascending: narrow integers [N]."""
        here = pc.equal(self.index.column("split"), name).to_numpy(zero_copy_only=False)
        numbers = np.empty(int(np.count_nonzero(here)), np.min_scalar_type(len(here)))
        at = 0
        for start in range(0, len(here), CHUNK):
            found = np.flatnonzero(here[start : start + CHUNK])
            numbers[at : at + len(found)] = found + start
            at += len(found)
        return numbers


Allowed = Callable[[str], str]
"""From a key's id to the digest of the policy that a run allows under that key."""


def open_dataset(
    store: Door,
    name: str,
    version: str,
    *,
    allow_weak: bool = False,
    allowed: Allowed | None = None,
    ledger: bool = True,
) -> Dataset:
    """Open ``name``/``version`` for reading; ``allowed`` None takes any policy that is strong. ``ledger``: read it now;
    else it is left until it is asked for, which training never does.

    Raises ``DatasetError`` when it is incomplete, of another format, when a sample has no attestation or one of
    another policy, when its policy is weak and ``allow_weak`` is not set, or is not the ``allowed`` one;
    ``CorruptDataError`` for damaged parts.
    """
    info = read_info(store, name, version)
    refuse_policy(info, allow_weak=allow_weak, allowed=allowed)
    index = read_parts(store, IndexRow, info.index, INDEX_SCHEMA)
    check_attestations(index, info, allow_weak=allow_weak)
    if len(index) != info.samples:
        raise CorruptDataError(f"{info.prefix}: the index does not have the rows that dataset.json counts")
    annotations = read_parts(store, Annotation, info.annotations, ANNOTATION_SCHEMA)
    dataset = Dataset(info=info, index=index, annotations=ByKey(annotations), store=store)
    if ledger:
        _ = dataset.ledger
    return dataset


def refuse_policy(info: DatasetInfo, *, allow_weak: bool, allowed: Allowed | None) -> None:
    """Raise ``DatasetError`` for a dataset whose policy is weak or not the one a run allows."""
    if info.header.strength != "strong" and not allow_weak:
        _refuse_weak(info)
    if allowed is not None and allowed(info.header.key_id) != info.header.policy_digest:
        raise DatasetError(
            f"dataset {info.name}/{info.version} was de-identified by another policy ('{info.header.policy}', "
            f"{info.header.policy_digest[:12]}) than the run allows",
            hint="give the run the policy the dataset was made by (its base, such as policies/strict, and overrides), "
            "or make a dataset under the run's",
        )


def check_attestations(index: Rows[IndexRow], info: DatasetInfo, *, allow_weak: bool) -> None:
    """Refuse (``DatasetError``) a sample without an attestation of the dataset's policy, or with a weak one: one that
    says so, and one by which faces are not under an opaque fill or captions are not masked."""
    attestations = index.column("attestation")

    def first(bad: pa.Array) -> str | None:
        """The key of the first sample for which ``bad`` is true."""
        numbers = np.flatnonzero(pc.fill_null(bad, True).to_numpy(zero_copy_only=False))
        return index.column("key")[int(numbers[0])].as_py() if len(numbers) else None

    if key := first(pc.is_null(attestations)):
        raise DatasetError(f"{info.prefix}: sample {key} has no attestation", hint="it is not to be used")
    if key := first(pc.not_equal(pc.struct_field(attestations, "policy_digest"), info.header.policy_digest)):
        raise DatasetError(f"{info.prefix}: sample {key} was made under another policy than the dataset's")
    if allow_weak:
        return
    for field, strong in (("strength", "strong"), ("faces", "fill"), ("captions", "mask")):
        if first(pc.not_equal(pc.struct_field(attestations, field), strong)):
            _refuse_weak(info)


def _refuse_weak(info: DatasetInfo) -> None:
    raise DatasetError(
        f"dataset {info.name}/{info.version} was made by the weak policy '{info.header.policy}': it is not "
        f"de-identified{''.join(f'; {reason}' for reason in info.header.weaknesses)}",
        hint="preprocess it with a strong one, or set data.allow_weak_policy=true to reproduce a paper",
    )


def missing_parts(store: Door, info: DatasetInfo) -> list[str]:
    """Keys of the parts that ``dataset.json`` names and that are not there: by listings, without reading them."""
    named = [part.key for part in (*info.index, *info.ledger, *info.annotations)]
    there = {key for folder in {key.rpartition("/")[0] for key in named} for key in store.list(folder)}
    return [key for key in named if key not in there]


def read_parts(store: Door, kind: type[T], parts: Sequence[PartFile], schema: pa.Schema) -> Rows[T]:
    """All rows of a table's parts, each part checked by its digest and its count of rows."""
    tables: list[pa.Table] = []
    for part in parts:
        try:
            data = store.get(part.key)
        except NotFoundError:
            raise CorruptDataError(f"{part.key} is missing", hint=f"to rebuild it {REBUILD}") from None
        if sha256_bytes(data) != part.sha256:
            message = f"{part.key}: its bytes are not those dataset.json names"
            raise CorruptDataError(message, hint=f"to rebuild it delete it, and {REBUILD}")
        table = read_table(data, schema, part.key)
        if table.num_rows != part.rows:
            raise CorruptDataError(f"{part.key}: {table.num_rows} rows instead of {part.rows}")
        tables.append(table)
    return Rows(kind, joined(tables), parts[0].key if parts else "an empty table")
