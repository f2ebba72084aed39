"""From plain data to typed dataclasses, with errors that name the file, the key and the nearest right one."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from deemo_dist.errors import ConfigError

T = TypeVar("T")


def build(kind: type[T], data: Mapping[str, Any], *, where: str, path: str = "") -> T:
    """Make a ``kind`` of ``data``. ``where`` names the file for messages. Raises ``ConfigError``."""
    check_keys(kind, data, where=where, path=path)
    hints = get_type_hints(kind)
    values = {name: convert(hints[name], value, where=where, path=join(path, name)) for name, value in data.items()}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in values:
            raise ConfigError(f"{where}: the key '{join(path, field.name)}' is missing", hint="give it a value")
    return kind(**values)


def check_keys(kind: type, data: Any, *, where: str, path: str = "") -> None:
    """Raise ``ConfigError`` for a key that ``kind`` does not have, at any depth; values are not looked at."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: '{path or 'the file'}' must be a mapping of keys, not {shown(data)}")
    names = [field.name for field in dataclasses.fields(kind)]
    hints = get_type_hints(kind)
    for name, value in data.items():
        if name not in names:
            raise ConfigError(f"{where}: there is no key '{join(path, str(name))}'", hint=nearest(str(name), names))
        _check_inside(hints[name], value, where=where, path=join(path, name))


def _check_inside(hint: Any, value: Any, *, where: str, path: str) -> None:
    """Follow ``hint`` into nested dataclasses, mappings and sequences of them."""
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        check_keys(typing.cast(type, hint), value, where=where, path=path)
    elif get_origin(hint) is dict and isinstance(value, Mapping):
        for key, item in value.items():
            _check_inside(get_args(hint)[1], item, where=where, path=join(path, str(key)))
    elif get_origin(hint) is tuple and isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check_inside(get_args(hint)[0], item, where=where, path=f"{path}[{number}]")


def convert(hint: Any, value: Any, *, where: str, path: str) -> Any:
    """Check and convert one value to the type ``hint`` says. Raises ``ConfigError``."""
    origin = get_origin(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where=where, path=path)
    if origin in (types.UnionType, typing.Union):
        return _convert_union(hint, value, where=where, path=path)
    if origin is Literal:
        if value not in get_args(hint):
            choices = [str(choice) for choice in get_args(hint)]
            raise ConfigError(
                f"{where}: '{path}' is {shown(value)}",
                hint=f"{nearest(str(value), choices)}; one of {', '.join(choices)}",
            )
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: '{path}' must be a list, not {shown(value)}")
        inner = get_args(hint)[0]
        return tuple(convert(inner, item, where=where, path=f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: '{path}' must be a mapping, not {shown(value)}")
        inner = get_args(hint)[1]
        return {str(key): convert(inner, item, where=where, path=join(path, str(key))) for key, item in value.items()}
    return _convert_scalar(hint, value, where=where, path=path)


def _convert_union(hint: Any, value: Any, *, where: str, path: str) -> Any:
    """``X | None``: None as it is, else X."""
    if value is None:
        return None
    inner = next(kind for kind in get_args(hint) if kind is not type(None))
    return convert(inner, value, where=where, path=path)


def _convert_scalar(hint: Any, value: Any, *, where: str, path: str) -> Any:
    """A string, number or truth value; an int serves as a float, and 2e-5 (a string to YAML 1.1) as the float it is."""
    if hint is float and isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = str(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, float) and value == value and abs(value) != float("inf"):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint in (str, bool) and isinstance(value, hint):
        return value
    raise ConfigError(f"{where}: '{path}' must be {_words[hint]}, not {shown(value)}")


_words = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false"}


def join(path: str, name: str) -> str:
    """Dotted path of ``name`` below ``path``."""
    return f"{path}.{name}" if path else name


def shown(value: Any) -> str:
    """A value for a message: its type and a short text."""
    return f"{type(value).__name__} {str(value)[:60]!r}"


def nearest(name: str, names: list[str]) -> str:
    """The hint for a wrong name: the nearest right one, else all of them."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(names))}"
