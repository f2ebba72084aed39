"""Parameters and metric names as MLflow takes them: flat, named within its alphabet, within its limits."""

import dataclasses
import json
import math
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from deemo_dist.config import MASK
from deemo_dist.tracking.secrets import is_secret_name, redact

MAX_KEY = 250
MAX_VALUE = 6000
MAX_TAG = 8000
PARAMS_PER_BATCH = 100
BYTES_PER_BATCH = 400_000
_SHOWN = 200
_FORBIDDEN = re.compile(r"[^\w\-. :/]")


def clean_key(name: str) -> str:
    """The nearest name that MLflow accepts: letters, digits and ``_-. :/``, a normal relative path, 250 at most."""
    name = _FORBIDDEN.sub("_", str(name)).replace("..", "_")
    name = posixpath.normpath(name).strip("/") if name else "_"
    return (name if name not in ("", ".") else "_")[:MAX_KEY]


def flatten(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and leaves of nested mappings and dataclasses; a list is a leaf."""
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        values = {field.name: getattr(values, field.name) for field in dataclasses.fields(values)}
    for name, value in values.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        nested = isinstance(value, Mapping) or (dataclasses.is_dataclass(value) and not isinstance(value, type))
        if nested and (value if isinstance(value, Mapping) else True):
            yield from flatten(value, path)
        else:
            yield path, value


def text_of(value: Any) -> str:
    """A leaf as text: strings as they are, the rest as JSON where JSON can say it."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError):
        return str(value)


def flat_params(values: Any, secrets: tuple[str, ...] = ()) -> dict[str, str]:
    """Nested ``values`` as ``{name: text}``, names cleaned, secrets masked. Nothing is shortened here."""
    flat: dict[str, str] = {}
    for name, value in flatten(values):
        hidden = is_secret_name(name) and value not in (None, "")
        flat[clean_key(name)] = MASK if hidden else redact(text_of(value), secrets)
    return flat


def shorten(params: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Params within MLflow's limit of 6,000 characters, and the whole texts of those that were over it.

    A long value is replaced by its beginning and the name of the artifact that holds it, ``params/NAME.txt``.
    """
    short, long = {}, {}
    for name, text in params.items():
        if len(text) <= MAX_VALUE:
            short[name] = text
            continue
        artifact = f"params/{name.replace('/', '_').replace(' ', '_').replace(':', '_')}.txt"
        short[name] = f"{text[:_SHOWN]}... [{len(text)} characters, whole in artifact {artifact}]"
        long[artifact] = text
    return short, long


def batches(params: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Cut params into requests that MLflow takes: 100 params and 400 kB at most each."""
    batch: dict[str, str] = {}
    size = 0
    for name, text in params.items():
        cost = len(name.encode()) + len(text.encode())
        if batch and (len(batch) == PARAMS_PER_BATCH or size + cost > BYTES_PER_BATCH):
            yield batch
            batch, size = {}, 0
        batch[name] = text
        size += cost
    if batch:
        yield batch


def number(value: Any) -> float | None:
    """A metric's value as a float (numbers, truth values, one-element arrays and tensors), None if it is none."""
    try:
        found = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None
    return found if math.isfinite(found) or math.isnan(found) else math.copysign(1.7976931348623157e308, found)
