"""A real store, and small real media made into samples, receipts and datasets."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from deemo_dist.config import StorageConfig
from deemo_dist.storage import Store, open_store
from tests import parts

FUNCTIONS = str(Path(__file__).parent / "functions")
if FUNCTIONS not in sys.path:  # what worker processes do must be importable in them: they are handed sys.path
    sys.path.insert(0, FUNCTIONS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StorageConfig(root=f"file://{tmp_path / 'store'}"))


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """What tests make things with."""
    return parts
