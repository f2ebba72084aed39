"""Manifests that come in while a person is erased, clips that no manifest explains, and names spelled otherwise."""

import json
import os
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deemo_dist.config import KeysConfig, RunConfig
from deemo_dist.dataset import open_dataset, read_info, read_manifest, write_manifest
from deemo_dist.dataset.lifecycle.combine import merge
from deemo_dist.dataset.lifecycle.scan import Sought, scan
from deemo_dist.deid import KeyRing
from deemo_dist.errors import ConfigError, DatasetError
from deemo_dist.storage import Store, open_store
from pipelines.erasure import withdrawn
from pipelines.erasure.withdrawn import without_withdrawn
from pipelines.ingest import ingest_source
from pipelines.rotate import run_rotate
from tests.erasing import ADA, CLIPS, erase
from tests.made import PEOPLE, clips_of, make

NEW = KeysConfig(variable="DEEMO_NEW_ROOT_KEY")


@pytest.fixture
def store(config: RunConfig) -> Store:
    store = open_store(config.storage)
    write_manifest(CLIPS, store)
    make(config, CLIPS, rejected=(1,))
    return store


def named(store: Store, config: RunConfig) -> set[str]:
    """Everybody whom a manifest in the store names."""
    return {clip.subject for key in store.list("manifests") for clip in read_manifest(store.uri(key), config.storage)}


@pytest.mark.parametrize("step", ["agree", "decide", "manifests", "caches", "prove"])
def test_a_manifest_that_comes_in_meanwhile_loses_the_person_too(config: RunConfig, store: Store, step: str) -> None:
    late: list[str] = []

    def ingest(done: str) -> bool:
        if done == step and not late:
            late.append(write_manifest(clips_of(12), store)[0])
        return True

    receipt = erase(config, ADA, agree=lambda _: ingest("agree"), after=ingest)
    assert named(store, config) == {"Zora Zamboni", "Bo"} and not store.exists(late[0])
    assert late[0] in dict(receipt.manifests)


def test_the_same_manifest_that_comes_in_again_goes_again(config: RunConfig, store: Store) -> None:
    def again(done: str) -> None:
        if done == "manifests" and "Ada" not in named(store, config) and not store.exists("again"):
            write_manifest(CLIPS, store)
            store.put("again", b"")

    erase(config, ADA, after=again)
    assert store.exists("again") and "Ada" not in named(store, config)


def rows_in(folder: Path) -> str:
    lines = [json.dumps({"uri": f"{n}.mp4", "subject": clip.subject, "split": "train"}) for n, clip in enumerate(CLIPS)]
    (folder / "clips.jsonl").write_text("\n".join(lines))
    for number in range(len(CLIPS)):
        (folder / f"{number}.mp4").write_bytes(b"x")
    return str(folder / "clips.jsonl")


@pytest.mark.parametrize("keyed", [True, False])
def test_an_ingest_during_an_erasure_leaves_no_manifest_with_the_person(
    config: RunConfig, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keyed: bool
) -> None:
    write = withdrawn.write_manifest

    def slowly(*arguments: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(withdrawn, "write_manifest", write)
            if "Ada" in {clip.subject for clip in arguments[0]}:
                erase(config, ADA)
        if not keyed:
            monkeypatch.delenv("DEEMO_ROOT_KEY")
        return write(*arguments)

    monkeypatch.setattr(withdrawn, "write_manifest", slowly)
    if keyed:
        uri, count = ingest_source(rows_in(tmp_path), config)
        assert count == 6 and "Ada" not in {clip.subject for clip in read_manifest(uri, config.storage)}
    else:
        with pytest.raises(ConfigError, match="no root key"):
            ingest_source(rows_in(tmp_path), config)
    assert named(store, config) == {"Zora Zamboni", "Bo"}


@pytest.fixture
def rotated(config: RunConfig, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """The same clips under a second root key, after the person was erased under the first; the original manifest kept
    elsewhere."""
    monkeypatch.setenv("DEEMO_NEW_ROOT_KEY", os.urandom(32).hex())
    (manifest,) = store.list("manifests")
    (tmp_path / manifest.rpartition("/")[2]).write_bytes(store.get(manifest))
    run_rotate(config, "demo/v9", NEW, manifest=None, voices="keep")
    (note,) = [note for note in erase(config, ADA).notes if "other" not in note and "root keys" in note]
    assert "--manifest ORIGINAL" in note
    moved = replace(config, keys=NEW, data=replace(config.data, version="v9", manifest=None))
    return replace(moved, name=str(tmp_path / manifest.rpartition("/")[2]))  # where the original is


def test_rejected_clips_under_a_second_key_ask_for_the_original_manifest(rotated: RunConfig, store: Store) -> None:
    with pytest.raises(DatasetError, match=r"1 rejected clips of demo/v9 are in no manifest .* --manifest ORIGINAL"):
        erase(rotated, ADA)
    assert not store.list("erasures/pending") and read_info(store, "demo", "v9").clips == 9
    receipt = erase(rotated, ADA, manifest=f"file://{rotated.name}")
    assert receipt.versions == (("demo/v9", "demo/v9-e1", 3),)
    assert not any("in no manifest that was read" in note for note in receipt.notes)
    ring = KeyRing.open(NEW, dataset="demo")
    assert ring.sample_key(CLIPS[1].uri) not in {row.key for row in open_dataset(store, "demo", "v9-e1").ledger}


def test_without_it_the_receipt_names_the_versions(rotated: RunConfig, store: Store) -> None:
    receipt = erase(rotated, ADA, without_manifest=True)
    assert receipt.versions == (("demo/v9", "demo/v9-e1", 2),)
    assert any("rejected clips of demo/v9 are in no manifest" in note for note in receipt.notes)


def test_a_version_that_was_begun_from_a_manifest_that_is_missing_is_named(config: RunConfig, store: Store) -> None:
    make(replace(config, data=replace(config.data, version="v2")), CLIPS[:7], finish=False, first=0)
    with pytest.raises(DatasetError, match="7 rejected clips of demo/v2 are in no manifest"):
        erase(config, ADA)


def test_rejected_clips_of_merges_and_of_earlier_erasures_are_explained_by_their_keys(
    config: RunConfig, store: Store
) -> None:
    more = clips_of(12)[9:]
    write_manifest(more, store)
    make(replace(config, data=replace(config.data, version="v2")), more, rejected=(1,))
    merge(store, [("demo", "v1"), ("demo", "v2")], ("demo", "both"))
    labels = [old for old, _, _ in erase(config, ADA).versions]
    assert labels == ["demo/both", "demo/v1", "demo/v2"]
    receipt = erase(config, PEOPLE[0])
    assert [old for old, _, _ in receipt.versions] == ["demo/both-e1", "demo/v1-e1", "demo/v2-e1"]


def spelled(how: Callable[[str], str]) -> list[Any]:
    return [replace(clip, subject=how("Zoë")) if clip.subject == "Ada" else clip for clip in CLIPS]


@pytest.mark.parametrize(
    "how", [str, lambda name: f" {name} ", lambda name: unicodedata.normalize("NFD", name)], ids=["", "space", "NFD"]
)
def test_a_name_is_found_in_every_spelling(config: RunConfig, how: Callable[[str], str]) -> None:
    store, clips = open_store(config.storage), spelled(how)
    write_manifest(clips, store)
    write_manifest(spelled(str)[:8], store)
    make(config, clips, rejected=(1,))
    asked = unicodedata.normalize("NFC", "Zoë")
    receipt = erase(config, asked)
    assert receipt.versions == (("demo/v1", "demo/v1-e1", 3),) and named(store, config) == {"Zora Zamboni", "Bo"}
    ring = KeyRing.open(config.keys, dataset="demo")
    keys = [ring.sample_key(CLIPS[number].uri) for number in (1, 4, 7)]
    assert not scan(store, Sought.of([*keys, ring.subject_key(how("Zoë"))])).found
    for other in (str, lambda name: f"\t{name}", lambda name: unicodedata.normalize("NFD", name)):
        assert len(without_withdrawn(spelled(other), store, ring)) == 6
    with pytest.raises(DatasetError, match="erased before"):
        erase(config, f" {asked}")


def test_what_was_removed_before_an_interruption_is_counted(config: RunConfig, store: Store) -> None:
    def die(step: str) -> None:
        if step == "remove":
            raise InterruptedError

    with pytest.raises(Exception, match="InterruptedError"):
        erase(config, ADA, after=die)
    receipt = erase(config, ADA)
    assert receipt.objects_removed >= 3 + 3 + 5 + 1  # receipts, shards, tables and headers, the manifest
    assert receipt.bytes_removed > 50_000
