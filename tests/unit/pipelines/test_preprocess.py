"""The driver of preprocessing: what it refuses before anything is done, and what it mends afterwards."""

from dataclasses import replace

import pytest

from deemo_dist.config import RunConfig
from deemo_dist.dataset import open_dataset, write_manifest
from deemo_dist.errors import CorruptDataError, DatasetError
from deemo_dist.records import Clip
from deemo_dist.storage import open_store
from pipelines.preprocess import run_preprocess
from tests.made import PEOPLE, clips_of, make


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


@pytest.mark.parametrize("part", ["index", "ledger", "annotations", "dataset.json"])
def test_what_is_missing_is_made_again_of_the_receipts(
    config: RunConfig, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, clips = open_store(config.storage), clips_of()
    run = of_manifest(config, clips)
    info = make(config, clips, order="key")
    assert info is not None and run_preprocess(run) == info
    before = {key: store.get(key) for key in store.list("")}
    gone = next(key for key in before if part in key and not key.startswith("manifests"))
    store.delete(gone)
    with pytest.raises((CorruptDataError, DatasetError), match=r"is missing - to rebuild it run again|run `deemo pre"):
        open_dataset(store, "demo", "v1")
    gated: list[str] = []
    monkeypatch.setattr("pipelines.audit.audit_gate", lambda *_: gated.append("looked"))
    assert run_preprocess(run) == info
    assert {key: store.get(key) for key in store.list("")} == before
    assert bool(gated) == (part == "dataset.json")  # what was committed is not judged again
    assert open_dataset(store, "demo", "v1").digest == info.dataset_digest
