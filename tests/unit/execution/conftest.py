"""Worker functions live in a module that spawned processes and Ray's workers can import."""

import os
import sys
from pathlib import Path

import pytest

FUNCTIONS = str(Path(__file__).parent / "functions")


@pytest.fixture(autouse=True)
def importable_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FUNCTIONS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([FUNCTIONS, *filter(None, [os.environ.get("PYTHONPATH")])]))
    assert FUNCTIONS in sys.path
