"""Templates over whole columns: which samples have a value for what a task asks, without making their records."""

from collections.abc import Sequence
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from deemo_dist.dataset.fields import FIELD, is_textual, nfbl_sequence
from deemo_dist.records import NfblEvent


def filled(template: str, annotations: pa.Table) -> pa.ChunkedArray:
    """``fields.fill`` over a table of annotations: strings, null where a value is missing or empty."""
    pieces = FIELD.split(template)  # text and field names in turn
    columns = [
        pa.scalar(piece) if number % 2 == 0 else _value(piece, annotations) for number, piece in enumerate(pieces)
    ]
    if len(columns) == 1:
        return pa.chunked_array([pa.repeat(columns[0], annotations.num_rows)])
    return pc.binary_join_element_wise(*columns, "", null_handling="emit_null")


def shows_text(prompt: str, annotations: pa.Table) -> pa.ChunkedArray:
    """Whether a prompt shows anything of the text modality: a textual line of it can be filled in."""
    lines = [line for line in prompt.split("\n") if any(is_textual(name) for name in FIELD.findall(line))]
    some = [pc.is_valid(filled(line, annotations)) for line in lines]
    return reduce(pc.or_, some, pa.chunked_array([pa.repeat(pa.scalar(False), annotations.num_rows)]))


def _value(name: str, annotations: pa.Table) -> pa.ChunkedArray:
    """What a placeholder stands for; null for an empty value too."""
    kind, _, rest = name.partition(".")
    if kind == "nfbl":
        values = pa.chunked_array([pa.array(_sequences(annotations.column("nfbl").to_pylist()), pa.string())])
    elif kind == "transcript":
        values = annotations.column("transcript")
    else:
        values = pc.map_lookup(annotations.column(f"{kind}s"), pa.scalar(rest), "first")
    return pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)


def _sequences(rows: Sequence[Sequence[dict[str, object]] | None]) -> list[str]:
    return [nfbl_sequence([NfblEvent(**event) for event in events or ()]) for events in rows]  # type: ignore[arg-type]
