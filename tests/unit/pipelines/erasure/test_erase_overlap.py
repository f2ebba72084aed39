"""Two erasures that overlap, and one that two processes finish: one at a time under a prefix, and nobody is lost."""

import json
import os
from dataclasses import replace
from typing import Any

import pytest

from deemo_dist.config import KeysConfig, RunConfig
from deemo_dist.dataset import open_dataset, read_info, read_manifest, verify, write_manifest
from deemo_dist.dataset.lifecycle import derive
from deemo_dist.dataset.lifecycle import erase as steps
from deemo_dist.dataset.lifecycle.erase import replace_versions
from deemo_dist.dataset.lifecycle.erasure import Erasure
from deemo_dist.dataset.lifecycle.scan import Sought, scan
from deemo_dist.dataset.lifecycle.suppression import token_of
from deemo_dist.dataset.lifecycle.tombstones import put_tombstone
from deemo_dist.dataset.lifecycle.versions import list_versions
from deemo_dist.deid import KeyRing
from deemo_dist.digests import canonical_json
from deemo_dist.errors import DatasetError, StorageError
from deemo_dist.storage import Store, open_store
from pipelines.erasure.pending import LOCK, Asked, empty
from pipelines.erasure.receipt import ErasureReceipt
from tests.erasing import ADA, BO, CLIPS, ZORA, at, erase
from tests.made import make

STEPS = ("decide", "suppress", "rewrite", "tombstone", "manifests", "remove", "mlflow", "caches", "prove", "receipt")


def die() -> None:
    raise StorageError("killed")


def interrupted(config: RunConfig, step: str, who: str = ZORA, **how: Any) -> None:
    with pytest.raises(StorageError, match="killed"):
        erase(config, who, after=at(step, die), **how)


def only_bo(store: Store, config: RunConfig) -> bool:
    """Whether two people are gone, and the third is whole."""
    ring = KeyRing.open(config.keys, dataset="demo")
    gone = [ring.sample_key(clip.uri) for clip in CLIPS if clip.subject != BO]
    assert not scan(store, Sought.of([*gone, ring.subject_key(ZORA), ring.subject_key(ADA)])).found
    (manifest,) = store.list("manifests")
    assert {clip.subject for clip in read_manifest(store.uri(manifest), config.storage)} == {BO}
    assert verify(store, "demo", "v1-e2", deep=True) == [] and not store.list("erasures/pending")
    return {row.subject_key for row in open_dataset(store, "demo", "v1-e2").index} == {ring.subject_key(BO)}


@pytest.mark.parametrize("step", STEPS)
def test_another_persons_erasure_finishes_one_that_was_interrupted(config: RunConfig, store: Store, step: str) -> None:
    interrupted(config, step)
    receipt = erase(config, ADA)
    assert receipt.versions == (("demo/v1-e1", "demo/v1-e2", 3),) and only_bo(store, config)
    assert len(store.list("erasures")) == 2
    with pytest.raises(DatasetError, match="erased before"):
        erase(config)


@pytest.mark.parametrize("step", STEPS)
def test_another_persons_erasure_runs_whole_while_one_runs(config: RunConfig, store: Store, step: str) -> None:
    receipt = erase(config, after=at(step, lambda: erase(config, ADA)))
    assert receipt.versions == (("demo/v1", "demo/v1-e1", 3),) and only_bo(store, config)
    assert len(store.list("erasures")) == 2


@pytest.mark.parametrize("step", STEPS)
def test_two_processes_finish_the_same_erasure(config: RunConfig, store: Store, step: str) -> None:
    others: list[ErasureReceipt] = []

    def another() -> None:
        others.append(erase(config))

    receipt = erase(config, after=lambda done: another() if done == step and not others else None)
    assert others == [receipt] and receipt.versions == (("demo/v1", "demo/v1-e1", 3),)
    assert read_info(store, "demo", "v1-e1").samples == 6 and verify(store, "demo", "v1-e1", deep=True) == []
    assert store.list("erasures") == [f"erasures/{receipt.id}.json"]


def test_what_was_decided_before_the_lock_is_decided_anew(config: RunConfig, store: Store) -> None:
    def meanwhile(_: str) -> bool:
        return bool(erase(config, ADA))

    receipt = erase(config, agree=meanwhile)
    assert receipt.versions == (("demo/v1-e1", "demo/v1-e2", 3),) and only_bo(store, config)


def test_of_two_who_decide_one_begins_and_nobody_is_erased_twice(config: RunConfig, store: Store) -> None:
    with pytest.raises(DatasetError, match="erased before"):
        erase(config, agree=lambda _: bool(erase(config)))
    assert not store.list("erasures/pending") and read_info(store, "demo", "v1-e1").samples == 6

    def begin(_: str) -> bool:
        interrupted(config, "decide", BO)
        return True

    with pytest.raises(DatasetError, match=r"another erasure was begun .* finishes the other one first"):
        erase(config, ADA, agree=begin)
    assert erase(config, ADA).versions == (("demo/v1-e2", None, 3),)


def test_one_under_another_root_key_is_named(config: RunConfig, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEMO_NEW_ROOT_KEY", os.urandom(32).hex())
    interrupted(config, "suppress")
    key_id = KeyRing.open(config.keys).key_id
    with pytest.raises(DatasetError, match=f"not finished was begun under the root key {key_id}"):
        erase(replace(config, keys=KeysConfig(variable="DEEMO_NEW_ROOT_KEY")), ADA)
    assert erase(config).versions == (("demo/v1", "demo/v1-e1", 3),)


def test_a_record_of_the_time_of_one_key_a_person_is_finished(config: RunConfig, store: Store) -> None:
    interrupted(config, "suppress")
    ring = KeyRing.open(config.keys, dataset="demo")
    sealed = bytes.fromhex(json.loads(store.get(LOCK))["sealed"])
    store.put(f"erasures/pending/{token_of('pending', ring.subject_key(ZORA)).token[:32]}", sealed)
    store.delete(LOCK)
    assert erase(config).versions == (("demo/v1", "demo/v1-e1", 3),) and not store.list("erasures/pending")


def test_a_version_whose_successor_was_never_made_is_not_removed(config: RunConfig, store: Store) -> None:
    put_tombstone(store, "datasets/demo/v1", why="erasure", replaced_by="demo/v1-e1")
    with pytest.raises(DatasetError, match="demo/v1 ended in favour of demo/v1-e1, which is not there"):
        erase(config)
    assert store.list("datasets/demo/v1/shards")


def test_clips_that_are_found_after_the_new_version_was_made_leave_it_too(config: RunConfig) -> None:
    store = open_store(config.storage)
    make(config, CLIPS, rejected=(0,))
    interrupted(config, "rewrite", without_manifest=True)
    assert read_info(store, "demo", "v1-e1").clips == 7  # the rejected clip is not known to be theirs
    write_manifest(CLIPS, store)
    receipt = erase(config)
    assert receipt.versions == (("demo/v1", "demo/v1-e1", 3), ("demo/v1-e1", "demo/v1-e2", 1))
    assert read_info(store, "demo", "v1-e2").clips == 6 and verify(store, "demo", "v1-e2", deep=True) == []


def test_a_new_version_that_was_half_made_with_fewer_keys_is_begun_anew(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(config.storage)
    make(config, CLIPS, rejected=(0,))
    unit = derive._unit

    def once(store: Store, prefix: str, number: int, *rest: Any) -> Any:
        return unit(store, prefix, number, *rest) if number == 0 else die()

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="killed"):
        patch.setattr(derive, "_unit", once)
        erase(config, without_manifest=True)
    write_manifest(CLIPS, store)
    receipt = erase(config)
    assert receipt.versions == (("demo/v1-e1", None, 0), ("demo/v1", "demo/v1-e2", 3))
    assert read_info(store, "demo", "v1-e2").clips == 6 and verify(store, "demo", "v1-e2", deep=True) == []


def test_who_was_asked_for_is_told_again_however_they_are_named(config: RunConfig) -> None:
    ring = KeyRing.open(config.keys, dataset="demo")
    by_name, by_key = Asked.by(ring, "Ada", None), Asked.by(ring, None, ring.subject_key("Ada"))
    assert by_name.token == Asked.by(ring.of("other"), " Ada ", None).token != by_key.token
    erasure: Erasure = empty(ring, by_name, "1")
    assert not erasure.settled and "Ada" not in canonical_json(erasure).decode()


def test_nothing_ends_while_others_are_begun_again_and_again(
    config: RunConfig, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def one_more(*given: Any, **how: Any) -> Erasure:
        made = replace_versions(*given, **how)
        begun.append(f"w{len(begun)}")
        make(replace(config, data=replace(config.data, version=begun[-1])), CLIPS, finish=False, first=0)
        return made

    with monkeypatch.context() as patch, pytest.raises(DatasetError, match="keeps coming in"):
        patch.setattr(steps, "replace_versions", one_more)
        erase(config)
    assert len(begun) > 1
    assert not [version for version in list_versions(store) if version.tombstone]
    assert len(erase(config).versions) == len(begun) + 1
