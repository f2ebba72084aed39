"""A store with a manifest and a dataset of it."""

import pytest

from deemo_dist.config import RunConfig
from deemo_dist.dataset import write_manifest
from deemo_dist.storage import Store, open_store
from tests.erasing import CLIPS
from tests.made import make


@pytest.fixture
def store(config: RunConfig) -> Store:
    store = open_store(config.storage)
    write_manifest(CLIPS, store)
    make(config, CLIPS)
    return store
