"""From keys back to clips and people, and what is said where a key is not known; units that travel sealed."""

import logging
import os
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from deemo_dist.config import KeysConfig, RunConfig, StorageConfig
from deemo_dist.dataset import open_dataset, write_manifest
from deemo_dist.dataset.lifecycle.combine import merge
from deemo_dist.deid import KeyRing
from deemo_dist.errors import ConfigError, DatasetError
from deemo_dist.records import Clip, NfblEvent, Unit
from deemo_dist.storage import open_store
from pipelines.audit import run_audit
from pipelines.released import Released
from pipelines.resolve import Resolved, resolve
from pipelines.sealed import SealedUnit
from tests.made import clips_of, config_of, make

CLIPS = tuple(
    Clip(
        uri=f"s3://raw/Zora Zamboni {number}.mp4",
        subject=f"Zora Zamboni {number % 3}",
        split="train",
        source="x",
        size_bytes=number,
        transcript=None if number % 2 else "I am Zora.",
        nfbl=(NfblEvent(start=0.5, end=1.0, type="fist"),),
    )
    for number in range(9)
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setenv("DEEMO_ROOT_KEY", os.urandom(32).hex())
    return RunConfig(name="x", storage=StorageConfig(root=f"file://{tmp_path}"))


@pytest.fixture
def manifest(config: RunConfig) -> str:
    store = open_store(config.storage)
    return store.uri(write_manifest(CLIPS, store)[0])


@pytest.fixture
def ring(config: RunConfig) -> KeyRing:
    return KeyRing.open(config.keys, dataset=config.data.name)


def test_keys_and_their_beginnings_are_resolved_in_their_order(
    config: RunConfig, manifest: str, ring: KeyRing, caplog: pytest.LogCaptureFixture
) -> None:
    sample, subject = ring.sample_key(CLIPS[4].uri), ring.subject_key(CLIPS[4].subject)
    with caplog.at_level(logging.DEBUG):
        found = list(resolve([subject[:8].upper(), sample], manifest, config))
    assert found == [
        Resolved(key=subject, kind="subject", name="Zora Zamboni 1", clips=3),
        Resolved(key=sample, kind="sample", name="s3://raw/Zora Zamboni 4.mp4"),
    ]
    assert "Zora" not in caplog.text
    assert list(resolve([sample], None, replace(config, data=replace(config.data, manifest=manifest))))


def test_unknown_keys_are_named_after_the_known(config: RunConfig, manifest: str, ring: KeyRing) -> None:
    sample = ring.sample_key(CLIPS[0].uri)
    found = resolve(["0" * 32, sample, "f" * 9], manifest, config)
    assert next(found).key == sample
    with pytest.raises(DatasetError, match=f"{'0' * 32} is unknown; {'f' * 9} is unknown.*{ring.key_id}") as caught:
        next(found)
    assert "Zora" not in str(caught.value)
    other = replace(config, data=replace(config.data, name="other"))
    with pytest.raises(DatasetError, match="is unknown"):
        list(resolve([sample], manifest, other))


def test_keys_of_a_merge_are_those_of_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEMO_ROOT_KEY", os.urandom(32).hex())
    config, clips = config_of(tmp_path), clips_of()
    store = open_store(config.storage)
    manifest = store.uri(write_manifest(clips, store)[0])
    for name, some in (("demo", clips[:6]), ("more", clips[6:])):
        make(replace(config, data=replace(config.data, name=name)), some)
    merge(store, [("demo", "v1"), ("more", "v1")], ("both", "v1"))
    both = replace(config, data=replace(config.data, name="both"))
    rows = list(open_dataset(store, "both", "v1").index)
    assert len(rows) == 9
    found = list(resolve([row.key for row in rows], manifest, both))
    assert sorted(each.name for each in found) == sorted(clip.uri for clip in clips)
    assert {each.kind for each in resolve([row.subject_key for row in rows], manifest, both)} == {"subject"}
    given: dict[str, Clip] = {}

    def looked_at(_: RunConfig, __: Released, raw: Mapping[str, Clip], **___: object) -> None:
        given.update(raw)
        raise DatasetError("that will do")

    monkeypatch.setattr("pipelines.audit.audit", looked_at)
    with pytest.raises(DatasetError, match="that will do"):
        run_audit(both, raw=manifest, boxes=None, names=None, clips=2)
    assert all(row.key in given for row in rows)


@pytest.mark.parametrize("key", ["", "abc", "Zora Zamboni", "g" * 32, "0" * 33])
def test_what_is_no_key_is_refused_before_anything_is_read(key: str, config: RunConfig) -> None:
    with pytest.raises(ConfigError, match="is no key"):
        list(resolve([key], "file:///does/not/exist.parquet", config))


def test_without_manifest_or_root_key_nothing_is_resolved(
    config: RunConfig, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no manifest"):
        list(resolve(["0" * 32], None, config))
    monkeypatch.delenv("DEEMO_ROOT_KEY")
    with pytest.raises(ConfigError, match="no root key"):
        list(resolve(["0" * 32], manifest, config))


def test_a_unit_travels_sealed(ring: KeyRing) -> None:
    unit = Unit(index=7, clips=CLIPS)
    sealed = SealedUnit.of(unit, ring)
    assert b"Zora" not in pickle.dumps(sealed)
    assert "Zora" not in repr(sealed)
    assert sealed.open(ring) == unit
    with pytest.raises(ConfigError, match="root key"):
        sealed.open(KeyRing.open(KeysConfig(source="demo"), dataset="demo"))
