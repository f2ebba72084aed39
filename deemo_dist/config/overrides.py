"""Dotted overrides: ``engine.ranks=4``, and keys of mappings such as ``stages.a.mix.demo/v1.weight=2``."""

import dataclasses
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from deemo_dist.config.build import convert
from deemo_dist.config.strict_yaml import read_yaml
from deemo_dist.errors import ConfigError

_FORM = re.compile(r"[\w./*?!\[\]-]+=")
_SCALARS = (str, int, float, bool)


def override_of(text: str, kind: type, below: Mapping[str, Any]) -> dict[str, Any]:
    """One override ``key.sub=value`` of a ``kind``, as a mapping to be merged over ``below``.

    A key of a mapping may hold dots (``trains.*vision.encoder*.lr``). Of all the ways to read the dots that ``kind``
    allows, the one is taken that goes furthest along what is in ``below``; then the one with the most levels.

    Raises ``ConfigError`` for what has no such form or is no YAML (OmegaConf takes ``a.b`` for None, silently), or for
    a value of the wrong type.
    """
    if not _FORM.match(text):
        raise ConfigError(
            f"override '{text}' is not of the form key.sub=value",
            hint="a key that holds other signs is written as YAML: 'key={\"other key\": {sub: value}}'",
        )
    key, value = text.split("=", 1)
    try:
        parsed = _read(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"override '{text}': not valid YAML: {getattr(error, 'problem', None) or error}") from error
    ways = list(_ways(kind, key.split("."), parsed))
    names, hint = max(ways, key=lambda way: (_known(way[0], below), len(way[0])), default=(key.split("."), Any))
    _check(hint, parsed, key=key, written=value.strip())
    _refuse_empty(names, parsed, below, key=key)
    return _nested(names, parsed)


def _read(value: str) -> Any:
    """The value as YAML, but that a sign # begins no comment: it is part of a path or a name."""
    if not value:
        return ""
    node = yaml.compose(value, Loader=yaml.SafeLoader)
    plain = node is None or (isinstance(node, yaml.ScalarNode) and node.style is None)
    rest = value[node.end_mark.index :] if node else value
    return value.strip() if plain and rest.lstrip().startswith("#") else read_yaml(value)


def without_key(overrides: Sequence[str], key: str) -> tuple[str, ...]:
    """``overrides`` without what they say of the dotted ``key``, be it within a mapping."""
    left = []
    for override in overrides:
        name, _, value = override.partition("=")
        inner = key.removeprefix(f"{name}.").split(".")
        told = _read(value) if key.startswith(f"{name}.") else None
        if isinstance(told, Mapping):
            rest = _dropped(told, inner)
            left += [f"{name}={json.dumps(rest)}"] if rest else []
        elif name != key and not name.startswith(f"{key}."):
            left.append(override)
    return tuple(left)


def _dropped(told: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """``told`` without what is found by ``names``, one below the other."""
    first, *rest = names
    inner = told.get(first)
    kept = {name: value for name, value in told.items() if name != first}
    return kept | {first: _dropped(inner, rest)} if rest and isinstance(inner, Mapping) else kept


def _ways(hint: Any, names: Sequence[str], value: Any) -> Iterator[tuple[list[str], Any]]:
    """Each way to read dotted ``names`` as keys within a ``hint``, with the type of what the last one names."""
    hint = _without_none(hint)
    if not names:
        if hint is Any or isinstance(value, Mapping) == _has_keys(hint) or value is None or _refers(value):
            yield [], hint
    elif hint is Any:
        yield list(names), Any
    elif dataclasses.is_dataclass(hint):
        inner = get_type_hints(hint).get(names[0])
        if inner is not None:
            yield from (([names[0], *rest], last) for rest, last in _ways(inner, names[1:], value))
    elif get_origin(hint) is dict:
        for count in range(1, len(names) + 1):
            first = ".".join(names[:count])
            yield from (([first, *rest], last) for rest, last in _ways(get_args(hint)[1], names[count:], value))


def _has_keys(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint) or get_origin(hint) is dict


def _without_none(hint: Any) -> Any:
    """``X`` of ``X | None``."""
    if get_origin(hint) in (types.UnionType, typing.Union):
        return next(kind for kind in get_args(hint) if kind is not type(None))
    return hint


def _known(names: Sequence[str], below: Any) -> int:
    """How many of ``names``, one below the other, are in ``below``."""
    for count, name in enumerate(names):
        if not isinstance(below, Mapping) or name not in below:
            return count
        below = below[name]
    return len(names)


def _refers(value: Any) -> bool:
    """Whether it is text that OmegaConf makes something else of, of whatever type."""
    return isinstance(value, str) and "${" in value


def _check(hint: Any, value: Any, *, key: str, written: str) -> None:
    """Raise ``ConfigError`` for a plain value of the wrong type; how text is written that looks like something else."""
    if hint is Any or _has_keys(hint) or value is None or isinstance(value, list | dict) or _refers(value):
        return
    where = f"override '{key}={written}'"
    try:
        convert(hint, value, where=where, path=key)
    except ConfigError as error:
        if hint is not str:
            raise
        raise ConfigError(
            f"{where}: '{key}' must be text, and {written} is read as something else",
            hint=f"put it in quotes, and all of it in others for the shell: '{key}={json.dumps(written)}'",
        ) from error


def _refuse_empty(names: Sequence[str], value: Any, below: Any, *, key: str) -> None:
    """Raise ``ConfigError`` for an empty mapping over one with keys: merged, it would change nothing."""
    for name in names:
        below = below.get(name) if isinstance(below, Mapping) else None
    if isinstance(value, Mapping) and not value and isinstance(below, Mapping) and below:
        raise ConfigError(
            f"override '{key}={{}}' would change nothing: a mapping is merged over the one that is there",
            hint=f"it has: {', '.join(map(str, below))}; name these and what they should be, or write another file",
        )


def _nested(names: Sequence[str], value: Any) -> dict[str, Any]:
    return {names[0]: _nested(names[1:], value) if len(names) > 1 else value}
