"""The driver of preprocessing: what it refuses before anything is done, and what it mends afterwards."""

from dataclasses import replace

import pytest

from deemo_dist.config import RunConfig
from deemo_dist.dataset import write_manifest
from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip
from deemo_dist.storage import open_store
from pipelines.preprocess import run_preprocess
from tests.made import PEOPLE, clips_of


def of_manifest(config: RunConfig, clips: list[Clip]) -> RunConfig:
    """The run over a manifest of these clips, in the shards that :func:`tests.made.make` makes."""
    store = open_store(config.storage)
    uri = store.uri(write_manifest(clips, store)[0])
    return replace(config, data=replace(config.data, manifest=uri, shard_bytes=3000))


def test_a_subject_in_two_splits_is_refused_before_anything_is_begun(config: RunConfig) -> None:
    clips = clips_of()
    clips[3] = replace(clips[3], split="test")
    with pytest.raises(DatasetError, match=r"1 subjects have clips in more than one split .*rows 1 and 4") as caught:
        run_preprocess(of_manifest(config, clips))
    assert PEOPLE[0] not in str(caught.value)
    assert not open_store(config.storage).list("datasets")
