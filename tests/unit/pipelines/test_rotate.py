"""Keys rotated: new names all through, the same media, and what the old key left in the sound said or dropped."""

import os
from dataclasses import replace
from itertools import combinations
from threading import Lock
from typing import Any

import pytest

from deemo_dist.config import DataConfig, KeysConfig, RunConfig
from deemo_dist.dataset import load_member, open_dataset, read_info, verify, write_manifest
from deemo_dist.dataset.lifecycle import rekey
from deemo_dist.dataset.lifecycle.scan import Sought, scan
from deemo_dist.dataset.lifecycle.tombstones import put_tombstone
from deemo_dist.deid import KeyRing, policy_digest
from deemo_dist.errors import ConfigError, DatasetError
from deemo_dist.storage import Store, open_store
from pipelines.datasets import check, describe, open_allowed
from pipelines.erasure.erase import run_erase
from pipelines.erasure.withdrawn import without_withdrawn
from pipelines.rotate import run_rotate
from tests.made import PEOPLE, clips_of, make

NEW = KeysConfig(variable="DEEMO_NEW_ROOT_KEY")


@pytest.fixture
def store(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("DEEMO_NEW_ROOT_KEY", os.urandom(32).hex())
    store = open_store(config.storage)
    write_manifest(clips_of(), store)
    make(config, clips_of(), rejected=(1,))
    return store


def known_uris() -> list[str]:
    return [clip.uri for clip in clips_of()]


def test_every_name_is_new_and_every_medium_the_same(config: RunConfig, store: Store) -> None:
    with pytest.raises(ConfigError, match="8 samples speak in disguised voices"):
        run_rotate(config, "demo/v2", NEW, manifest=None, voices=None)
    info = run_rotate(config, "demo/v2", NEW, manifest=None, voices="keep")
    assert verify(store, "demo", "v2", deep=True) == []
    old, new = open_dataset(store, "demo", "v1"), open_dataset(store, "demo", "v2")
    ring = KeyRing.open(NEW, dataset="demo")
    known = {ring.sample_key(clip.uri): clip for clip in clips_of()}
    assert {row.key for row in new.ledger} == set(known)
    assert info.header.policy_digest == policy_digest(config.policy, ring.key_id) != old.info.header.policy_digest
    was = {KeyRing.open(config.keys, dataset="demo").sample_key(uri): ring.sample_key(uri) for uri in known_uris()}
    by_name = {row.key: row for row in new.index}
    assert len(by_name) == len(old.index)
    for before in old.index:
        after = by_name[was[before.key]]
        assert after.subject_key == ring.subject_key(known[after.key].subject)
        assert after.attestation.key_id == ring.key_id and after.audio_seconds == before.audio_seconds
        for kind in ("mp4", "flac", "cues.npy"):
            assert load_member(after, store, new.prefix, kind) == load_member(before, store, old.prefix, kind)
        assert replace(new.annotations[after.key], key="") == replace(old.annotations[before.key], key="")
    keys = [key for row in old.index for key in (row.key, row.subject_key)] + [row.key for row in old.ledger]
    for prefix in ("datasets/demo/v2", *(f"annotations/{info.annotations_digest}",)):
        assert not scan(store, Sought.of(keys), prefix).found
    assert info.header.derived is not None and info.header.derived.voices_key_id == old.info.header.key_id
    moved = replace(config, data=replace(config.data, version="v2"), keys=NEW)
    assert open_allowed(moved, store).digest == info.dataset_digest and check(moved, deep=True).startswith("whole")
    assert f"disguised under the root key {old.info.header.key_id}" in describe(moved)
    assert run_rotate(config, "demo/v2", NEW, manifest=None, voices="keep") == info


def test_neither_the_place_of_a_row_nor_its_unit_leads_back(config: RunConfig, store: Store) -> None:
    run_rotate(config, "demo/v2", NEW, manifest=None, voices="keep")
    old, new = open_dataset(store, "demo", "v1"), open_dataset(store, "demo", "v2")
    keys = [row.key for row in new.ledger]
    assert keys == sorted(keys) and [row.key for row in new.index] == sorted(row.key for row in new.index)
    assert [row.unit for row in new.ledger] == sorted(row.unit for row in new.ledger)
    assert new.info.header.units == old.info.header.units == 3
    assert "order" in describe(config) and "order" not in describe(replace(config, data=moved(config), keys=NEW))


def moved(config: RunConfig) -> DataConfig:
    return replace(config.data, version="v2")


def test_units_are_cut_by_the_new_names(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over many clips nobody's neighbours are those of before."""
    monkeypatch.setenv("DEEMO_NEW_ROOT_KEY", os.urandom(32).hex())
    store, clips = open_store(config.storage), clips_of(60)
    write_manifest(clips, store)
    make(config, clips, rejected=(1, 5))
    run_rotate(config, "demo/v2", NEW, manifest=None, voices="keep")
    assert verify(store, "demo", "v2", deep=True) == []
    old, new = (KeyRing.open(keys, dataset="demo") for keys in (config.keys, NEW))
    units = [{row.key: row.unit for row in open_dataset(store, "demo", version).ledger} for version in ("v1", "v2")]
    pairs = list(combinations([clip.uri for clip in clips], 2))
    before = [units[0][old.sample_key(a)] == units[0][old.sample_key(b)] for a, b in pairs]
    after = [units[1][new.sample_key(a)] == units[1][new.sample_key(b)] for a, b in pairs]
    assert sum(before) == 60 and sum(one and other for one, other in zip(before, after, strict=True)) < 20


def test_voices_are_dropped_and_the_old_version_is_tombstoned(config: RunConfig, store: Store) -> None:
    info = run_rotate(config, "demo/v2", NEW, manifest=None, voices="drop", tombstone=True)
    new = open_dataset(store, "demo", "v2")
    assert verify(store, "demo", "v2", deep=True) == []
    assert info.header.derived is not None and info.header.derived.voices_key_id is None
    for row in new.index:
        assert (row.audio_seconds, row.attestation.voice) == (0.0, "none")
        assert "flac" not in {member.extension for member in row.members}
    with pytest.raises(DatasetError, match=r"tombstoned \(rotation.*demo data.version=v2"):
        open_dataset(store, "demo", "v1")


def test_whoever_withdrew_stays_out_under_the_new_key(config: RunConfig, store: Store) -> None:
    run_erase(config, subject=PEOPLE[0], subject_key=None, manifest=None)
    erased = replace(config, data=replace(config.data, version="v1-e1"))
    run_rotate(erased, "demo/v2", NEW, manifest=None, voices="keep")
    info = read_info(store, "demo", "v2")
    assert info.clips == 6 and info.header.derived is not None and info.header.derived.erased == 3
    kept = without_withdrawn(clips_of(), store, KeyRing.open(NEW, dataset="demo"))
    assert {clip.subject for clip in kept} == set(PEOPLE[1:])


def test_what_does_not_fit_is_refused(config: RunConfig, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def rotate(config: RunConfig = config, keys: KeysConfig = NEW, manifest: str | None = None) -> object:
        return run_rotate(config, "demo/v2", keys, manifest=manifest, voices="keep")

    with pytest.raises(ConfigError, match="is the old one"):
        rotate(keys=config.keys)
    with pytest.raises(ConfigError, match="the run's is"):
        rotate(replace(config, keys=NEW))
    with pytest.raises(DatasetError, match="another policy"):
        rotate(replace(config, policy=replace(config.policy, dilate=0.3)))
    some = store.uri(write_manifest(clips_of()[:5], store)[0])
    with pytest.raises(DatasetError, match="are in no manifest"):
        rotate(manifest=some)
    with pytest.raises(DatasetError, match="begun with another"):
        run_rotate(config, "demo/v1", NEW, manifest=None, voices="keep")


@pytest.mark.parametrize("moment", ["begun", "units", "made"])
def test_whoever_withdraws_while_it_is_made_is_not_in_it(
    config: RunConfig, store: Store, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """An erasure under the old key finds nothing under the new one: the rotation itself looks again."""
    where = {"begun": (rekey, "begin_version"), "units": (rekey, "_unit"), "made": (rekey, "write_version")}
    module, name = where[moment]
    before, erased, lock = getattr(module, name), [], Lock()

    def meanwhile(*arguments: Any, **named: Any) -> Any:
        result = before(*arguments, **named)
        with lock:
            if not erased:
                erased.append(run_erase(config, subject=PEOPLE[0], subject_key=None, manifest=None))
        return result

    message = "and it is made - erase them from it" if moment == "made" else "it was removed again"
    told = pytest.raises(DatasetError, match=rf"3 clips are of people who withdrew while demo/v9 .* {message}")
    with monkeypatch.context() as patch, told:
        patch.setattr(module, name, meanwhile)
        run_rotate(config, "demo/v9", NEW, manifest=store.uri(store.list("manifests")[0]), voices="keep")
    if moment != "made":
        assert store.list("datasets/demo/v9") == ["datasets/demo/v9/tombstone.json"]
        return
    note = next(note for note in erased[0][1].notes if "root keys" in note)
    assert KeyRing.open(NEW).key_id in note
    kept = without_withdrawn(clips_of(), store, KeyRing.open(NEW, dataset="demo"))
    assert {clip.subject for clip in kept} == set(PEOPLE[1:])  # the list was taken over at the end


def test_a_source_that_ends_meanwhile_is_refused(
    config: RunConfig, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = rekey.begin_version

    def meanwhile(*arguments: Any) -> Any:
        put_tombstone(store, "datasets/demo/v1", why="rotation", replaced_by=None)
        return begin(*arguments)

    monkeypatch.setattr(rekey, "begin_version", meanwhile)
    with pytest.raises(DatasetError, match=r"demo/v1 was tombstoned while demo/v9 .* removed again"):
        run_rotate(config, "demo/v9", NEW, manifest=None, voices="keep")
    assert store.list("datasets/demo/v9") == ["datasets/demo/v9/tombstone.json"]


def test_a_version_that_was_begun_as_something_else_is_left_alone(
    config: RunConfig, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(replace(config, data=replace(config.data, version="v9")), clips_of()[3:], finish=False)
    before = store.list("datasets/demo/v9")
    begin = rekey.begin_version

    def meanwhile(*arguments: Any) -> Any:
        put_tombstone(store, "datasets/demo/v1", why="rotation", replaced_by=None)
        return begin(*arguments)

    monkeypatch.setattr(rekey, "begin_version", meanwhile)
    with pytest.raises(DatasetError, match="begun with another"):
        run_rotate(config, "demo/v9", NEW, manifest=None, voices="keep")
    assert store.list("datasets/demo/v9") == before
