"""Rows of a table as records, decoded column by column: several times as fast as row by row.

What is not plainly what a record asks for (a null, another type, a key twice in a map) is left to the decoder of rows,
which takes it or says what is wrong with it.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, TypeVar, get_args, get_origin

import pyarrow as pa

from deemo_dist.dataset.codec import field_hints, from_plain

T = TypeVar("T")
SCALARS = {str: pa.types.is_string, int: pa.types.is_integer, float: pa.types.is_floating, bool: pa.types.is_boolean}


def records(kind: type[T], table: pa.Table, where: str) -> list[T]:
    """The rows of ``table`` as records of ``kind``. Raises ``CorruptDataError`` for a row that is no valid record."""
    try:
        columns = {name: table.column(name).combine_chunks() for name in table.column_names}
        return _built(kind, columns, table.num_rows)
    except (_NotPlainError, TypeError):
        return [from_plain(kind, row, where) for row in table.to_pylist(maps_as_pydicts="strict")]


class _NotPlainError(Exception):
    """A column holds what is not plainly values of one type."""


def _built(kind: type, columns: Mapping[str, pa.Array], rows: int) -> list[Any]:
    """Objects of a dataclass from columns [rows] by name; those that it does not have are passed over."""
    values = {name: _values(hint, columns[name]) for name, hint in field_hints(kind).items() if name in columns}
    if not values:
        return [kind() for _ in range(rows)]
    return [kind(**dict(zip(values, row, strict=True))) for row in zip(*values.values(), strict=True)]


def _values(hint: Any, array: pa.Array) -> list[Any]:
    """A column [N] as values of the type ``hint``, one a row. Raises ``_NotPlainError``."""
    origin = get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _scalars(get_args(hint)[0], array)
    if array.null_count:
        raise _NotPlainError
    if dataclasses.is_dataclass(hint) and pa.types.is_struct(array.type):
        columns = {field.name: array.field(field.name) for field in array.type}
        return _built(typing.cast(type, hint), columns, len(array))
    if origin is tuple and pa.types.is_list(array.type):
        items = _values(get_args(hint)[0], array.flatten())
        return [tuple(items[start:end]) for start, end in _spans(array)]
    if origin is not None and issubclass(origin, Mapping) and pa.types.is_map(array.type):
        return _maps(get_args(hint)[1], array)
    return _scalars(hint, array)


def _maps(hint: Any, array: pa.Array) -> list[dict[str, Any]]:
    first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
    keys = _values(str, array.keys.slice(first, last - first))
    values = _values(hint, array.items.slice(first, last - first))
    found = [dict(zip(keys[start:end], values[start:end], strict=True)) for start, end in _spans(array)]
    if sum(map(len, found)) != len(keys):
        raise _NotPlainError
    return found


def _spans(array: pa.Array) -> list[tuple[int, int]]:
    """Where the items of each row (of a list or a map, none null) begin and end among them all."""
    offsets = array.offsets.to_numpy()
    return list(pairwise((offsets - offsets[0]).tolist()))


def _scalars(hint: Any, array: pa.Array) -> list[Any]:
    """Strings, numbers or truth values, null where they are."""
    if hint not in SCALARS or not SCALARS[hint](array.type):
        raise _NotPlainError
    if array.null_count and hint is not str:
        return list(array.to_pylist())
    return list(array.to_numpy(zero_copy_only=False).tolist())
