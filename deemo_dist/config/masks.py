"""The user's part of a URI, ``user:password@``, out of what is shown."""

import re

MASK = "***"
_USER = re.compile(r"(?<=://)[^/\s'\"?#]+(?=@)")
_PASSWORD = re.compile(r"://[^/\s'\"?#]*:[^/\s'\"?#]*@")


def mask_user(text: str) -> str:
    """``text`` with ``***`` in place of everything between ``://`` and ``@`` in its URIs."""
    return _USER.sub(MASK, text)


def has_password(text: str) -> bool:
    """Whether a URI in ``text`` holds ``user:password@``."""
    return bool(_PASSWORD.search(text))
