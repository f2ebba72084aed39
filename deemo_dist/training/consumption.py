"""The consumption ledger of a stage, as a rank writes it and as an audit reads it.

Each rank notes the examples that it really fed, as the work that packed them says, and puts the rows beside every
checkpoint, before its receipt. Rows count only where a commit stands upon them: the commit's ``lives`` say which
attempt made which of its steps.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from deemo_dist.errors import CorruptDataError
from deemo_dist.records.consumed import CONSUMED_SCHEMA, CONSUMED_VERSION, ConsumedRow, keys_digest, mark
from deemo_dist.records.parquet import parquet_table

if TYPE_CHECKING:
    from deemo_dist.storage import Store

Life = tuple[int, int]
"""(attempt, the first step it made)."""


class Fed:
    """What this rank fed since the last commit."""

    def __init__(self, *, attempt: int, rank: int, world: int, plan_digest: str) -> None:
        self.names: dict[str, Any] = {"attempt": attempt, "rank": rank, "world": world, "plan_digest": plan_digest}
        self.rows: list[ConsumedRow] = []

    def note(self, step: int, names: Sequence[str]) -> None:
        """The examples of these names (``fed_name``) were fed in ``step``."""
        marks = tuple(mark(name) for name in names)
        digest = keys_digest(names)
        self.rows.append(ConsumedRow(step=step, keys_digest=digest, samples=len(names), examples=marks, **self.names))

    def until(self, step: int) -> list[ConsumedRow]:
        """The rows of the steps before ``step``."""
        return [row for row in self.rows if row.step < step]

    def committed(self, step: int) -> None:
        """The steps before ``step`` are on record."""
        self.rows = [row for row in self.rows if row.step >= step]


def lives_of(state: Mapping[str, Any], attempt: int) -> list[Life]:
    """The lives that a commit's ``state`` names; of one that names none, ``attempt`` alone."""
    return [(int(life), int(start)) for life, start in state.get("lives", [[attempt, 0]])]


def reborn(lives: Iterable[Life], attempt: int, start: int) -> list[Life]:
    """``lives`` and another that goes on from step ``start``: what was made from there on before is void."""
    return [*(life for life in lives if life[1] < start), (attempt, start)]


def put_rows(store: "Store", prefix: str, rows: Sequence[ConsumedRow]) -> None:
    """Put a rank's rows under a name that says which they are."""
    import pyarrow.parquet as pq

    if not rows:
        return
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=CONSUMED_SCHEMA), sink)
    steps = f"{rows[0].step:08d}-{rows[-1].step:08d}"
    store.put(f"{prefix}/consumed/{rows[0].attempt:04d}-{steps}-rank-{rows[0].rank:05d}.parquet", sink.getvalue())


def read_rows(store: "Store", prefix: str) -> list[ConsumedRow]:
    """All rows of a stage, of committed steps and of others. Raises ``CorruptDataError`` for a damaged file or one of a
    newer format."""
    return [row for key in store.list(f"{prefix}/consumed/") for row in _rows(store.get(key), key)]


def _rows(data: bytes, key: str) -> list[ConsumedRow]:
    try:
        table = parquet_table(data)
        version = int((table.schema.metadata or {}).get(b"deemo.version", b"0"))
        names = [name for name in CONSUMED_SCHEMA.names if version > 1 or name != "examples"]
        found = table.select(names).to_pylist()
    except (pa.ArrowException, KeyError, OSError):
        raise CorruptDataError(f"{key}: not a readable consumption ledger") from None
    if not 1 <= version <= CONSUMED_VERSION:
        raise CorruptDataError(f"{key}: a consumption ledger of format {version}", hint="read it with a newer deemo")
    return [ConsumedRow(**{**row, "examples": tuple(row.get("examples") or ()), "version": version}) for row in found]
