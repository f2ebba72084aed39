"""Marks of a config field: *semantic* (in the digest) or *operational* (where and how things run: not in it)."""

import dataclasses
from typing import Any


def operational(default: Any = dataclasses.MISSING, *, factory: Any = dataclasses.MISSING) -> Any:
    """A field that does not change what is computed: paths, ranks, retries. Left out of every digest."""
    return dataclasses.field(default=default, default_factory=factory, metadata={"operational": True})


def semantic(value: Any) -> Any:
    """The semantic part of a config value as plain data, to be digested.

    A mapping to dataclasses (stages, tasks, train rules) becomes a list of pairs: its order has a meaning.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = (field for field in dataclasses.fields(value) if not field.metadata.get("operational"))
        return {field.name: semantic(getattr(value, field.name)) for field in kept}
    if isinstance(value, dict) and any(dataclasses.is_dataclass(item) for item in value.values()):
        return [[key, semantic(item)] for key, item in value.items()]
    if isinstance(value, dict):
        return {key: semantic(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [semantic(item) for item in value]
    return value
