"""Marks of a config field: *semantic* (in the digest) or *operational* (where and how things run: not in it)."""

import dataclasses
from collections.abc import Callable
from typing import Any


def operational(default: Any = dataclasses.MISSING, *, factory: Any = dataclasses.MISSING) -> Any:
    """A field that does not change what is computed: paths, ranks, retries. Left out of every digest."""
    return dataclasses.field(default=default, default_factory=factory, metadata={"operational": True})


def partly_operational(part: Callable[[Any], Any], *, factory: Any) -> Any:
    """A field of which ``part`` (of its value) alone changes what is computed; where that is empty, none of it is in a
    digest."""
    return dataclasses.field(default_factory=factory, metadata={"part": part})


def semantic(value: Any) -> Any:
    """The semantic part of a config value as plain data, to be digested.

    A mapping to dataclasses (stages, tasks, train rules) becomes a list of pairs: its order has a meaning.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = (field for field in dataclasses.fields(value) if not field.metadata.get("operational"))
        found = {field.name: (field.metadata.get("part"), getattr(value, field.name)) for field in kept}
        parts = {name: (part, part(own) if part else own) for name, (part, own) in found.items()}
        return {name: semantic(own) for name, (part, own) in parts.items() if own or part is None}
    if isinstance(value, dict) and any(dataclasses.is_dataclass(item) for item in value.values()):
        return [[key, semantic(item)] for key, item in value.items()]
    if isinstance(value, dict):
        return {key: semantic(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [semantic(item) for item in value]
    return value
