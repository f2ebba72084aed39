"""Keep secrets out of everything that is tracked: by the name of a key, by the form of a URI, by value."""

import os
import re
from collections.abc import Mapping
from typing import Any

from deemo_dist.config import MASK, mask_user

_SECRET_KEY = re.compile(
    r"(passw(or)?d|passphrase|secret|credential|private[_-]?key|access[_-]?key|api[_-]?key|root[_-]?key"
    r"|auth[_-]?token|access[_-]?token|session[_-]?token|bearer|(^|[._-])token$)",
    re.IGNORECASE,
)
_SECRET_VARIABLE = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|ACCESS_KEY|API_KEY|ROOT_KEY|CREDENTIAL)", re.IGNORECASE)
_SHORTEST = 8
_PLACES = frozenset({"path", "directory"})
"""Names of files that are read later: they must be found."""


def is_secret_name(name: str) -> bool:
    """True when a key so named holds a secret (``storage.secret_key``; not ``max_tokens`` or ``tokenizer``)."""
    return bool(_SECRET_KEY.search(name))


def secret_values(variables: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Values of the environment's secret variables, longest first; those under 8 characters would match by chance."""
    env = os.environ if variables is None else variables
    found = {value for name, value in env.items() if _SECRET_VARIABLE.search(name) and len(value) >= _SHORTEST}
    return tuple(sorted(found, key=lambda value: (-len(value), value)))


def redact(text: str, values: tuple[str, ...] = ()) -> str:
    """``text`` with the users and passwords of URIs and every one of ``values`` replaced by ``***``."""
    for value in values:
        text = text.replace(value, MASK)
    return mask_user(text)


def redact_all(content: Mapping[str, Any], values: tuple[str, ...] = ()) -> dict[str, Any]:
    """``content`` with every text in it redacted, at any depth; places on this machine stay what they are."""
    return {name: value if name in _PLACES else _redacted(value, values) for name, value in content.items()}


def _redacted(value: Any, values: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return redact(value, values)
    if isinstance(value, Mapping):
        return {name: _redacted(each, values) for name, each in value.items()}
    return [_redacted(each, values) for each in value] if isinstance(value, list | tuple) else value
