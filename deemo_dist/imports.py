"""Importing a library without what it would import for no use of ours: seconds and hundreds of megabytes a process."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*modules: str) -> Iterator[None]:
    """Make ``import MODULE`` fail for a while, as if it were not installed; one that is loaded already stays."""
    hidden = [module for module in modules if module not in sys.modules]
    for module in hidden:
        sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in hidden:
            sys.modules.pop(module, None)
