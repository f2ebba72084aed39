"""Between records (frozen dataclasses) and what is stored: JSON and Parquet, each with a kind and a format version."""

import dataclasses
import functools
import io
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from deemo_dist.digests import plain
from deemo_dist.errors import CorruptDataError, DatasetError
from deemo_dist.records.parquet import parquet_table

T = TypeVar("T")


def check_version(kind: str, found: int, known: int, where: str) -> None:
    """Raise ``DatasetError`` for a stored ``kind`` of a format newer than this code knows."""
    if found > known:
        raise DatasetError(
            f"{where}: {kind} of format {found}, this version reads up to {known}", hint="upgrade deemo-dist"
        )


def parse_json(data: bytes, where: str) -> dict[str, Any]:
    """A JSON object. Raises ``CorruptDataError`` for anything else."""
    try:
        value = json.loads(data)
    except (ValueError, UnicodeDecodeError):
        raise CorruptDataError(f"{where}: not valid JSON", hint="the object is damaged or half-written") from None
    if not isinstance(value, dict):
        raise CorruptDataError(f"{where}: not a JSON object")
    return value


def from_plain(kind: type[T], data: Any, where: str) -> T:
    """Rebuild the dataclass ``kind`` from plain data; unknown keys (of a later minor writer) are passed over.

    Raises ``CorruptDataError`` for missing keys or wrong types.
    """
    try:
        value = _decode(kind, data)
    except (TypeError, KeyError, ValueError, AttributeError):
        raise CorruptDataError(f"{where}: not a valid {kind.__name__}") from None
    return typing.cast(T, value)


@functools.cache
def field_hints(kind: type) -> dict[str, Any]:
    """Type hints of a dataclass's fields."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _decode(hint: Any, value: Any) -> Any:
    """Plain ``value`` as the type ``hint`` says. Raises TypeError, ValueError or KeyError."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if value is None:
            return None  # a null struct: its reader says what is missing
        return hint(**{name: _decode(inner, value[name]) for name, inner in field_hints(hint).items() if name in value})
    origin = get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _decode(get_args(hint)[0], value)
    if origin is tuple:
        return tuple([_decode(get_args(hint)[0], item) for item in value])
    if origin is not None and issubclass(origin, Mapping):
        return {str(key): _decode(get_args(hint)[1], item) for key, item in value.items()}
    return _scalar(hint, value)


def _scalar(hint: Any, value: Any) -> Any:
    """A string, number or truth value of exactly the type asked for; an int serves as a float."""
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise TypeError(f"{type(value).__name__} for {hint}")
    return value


def to_parquet(rows: Sequence[Any], schema: pa.Schema) -> bytes:
    """Records as one Parquet file of ``schema`` (which carries kind and version)."""
    return encode_table(pa.Table.from_pylist([plain(row) for row in rows], schema=schema))


def encode_table(table: pa.Table) -> bytes:
    """A table (its schema carries kind and version) as one Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def from_parquet(kind: type[T], data: bytes, schema: pa.Schema, where: str) -> list[T]:
    """Records of ``kind`` from Parquet bytes written with ``schema`` or an older one. Raises as ``read_table``, and
    ``CorruptDataError`` for a row that is not a valid record."""
    table = read_table(data, schema, where)
    return [from_plain(kind, row, where) for row in table.to_pylist(maps_as_pydicts="strict")]


def read_table(data: bytes, schema: pa.Schema, where: str) -> pa.Table:
    """The table in Parquet bytes written with ``schema`` or an older one.

    Raises ``CorruptDataError`` for bytes that are not such a table, ``DatasetError`` for a newer format.
    """
    expected = _metadata(schema)
    try:
        table = parquet_table(data)
    except (pa.ArrowException, OSError):
        raise CorruptDataError(f"{where}: not a readable Parquet file") from None
    found = _metadata(table.schema)
    if found.get("deemo.kind") != expected["deemo.kind"]:
        raise CorruptDataError(f"{where}: holds '{found.get('deemo.kind')}', not '{expected['deemo.kind']}'")
    check_version(expected["deemo.kind"], int(found.get("deemo.version", "0")), int(expected["deemo.version"]), where)
    return table


def _metadata(schema: pa.Schema) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
