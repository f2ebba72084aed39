"""A person is erased from versions, overlays, manifests and results, and stays out; what stopped is finished."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deemo_dist.config import RunConfig
from deemo_dist.dataset import (
    open_dataset,
    read_info,
    read_manifest,
    verify,
    write_manifest,
)
from deemo_dist.dataset.lifecycle.combine import merge
from deemo_dist.dataset.lifecycle.scan import Sought, scan
from deemo_dist.dataset.loader import Loader
from deemo_dist.deid import KeyRing
from deemo_dist.errors import ConfigError, DatasetError, StorageError
from deemo_dist.records import Clip
from deemo_dist.storage import Store, open_store
from pipelines.datasets import check
from pipelines.erasure.erase import run_erase
from pipelines.erasure.receipt import told
from pipelines.erasure.withdrawn import take_over, without_withdrawn
from pipelines.ingest import ingest_source
from tests.made import PEOPLE, clips_of, config_of, make


def keys_of(config: RunConfig, clips: Sequence[Clip], person: str) -> Sought:
    ring = KeyRing.open(config.keys, dataset=config.data.name)
    mine = [ring.sample_key(clip.uri) for clip in clips if clip.subject == person]
    return Sought.of([ring.subject_key(person), *mine])


def traces(config: RunConfig, store: Store, sample: str) -> None:
    """What a training and an evaluation leave: results, a report, a commit, a model, a cached page."""
    digest = read_info(store, "demo", "v1").dataset_digest
    store.put("runs/run/evaluation-1/predictions.json", json.dumps([{"key": sample}]).encode())
    store.put("runs/run/evaluation-1/report.html", f"<figcaption>sample {sample[:8]}</figcaption>".encode())
    store.put("runs/run/evaluation-1/other.html", b"<p>sample 00000000</p>")
    for step, final in ((10, False), (20, True)):
        commit = {"stage_key": "a" * 64, "step": step, "attempt": 1, "world": 1, "final": final, "receipts": []}
        commit |= {"state": {}, "extra": {"dataset_digest": digest}, "version": 1}
        store.put(f"runs/run/align-{'a' * 12}/commits/{step:08d}-0001.json", json.dumps(commit).encode())
    store.put(f"models/run/{'a' * 12}/config.json", b"{}")
    page = Path(config.storage.cache) / "runs/report.html"
    page.parent.mkdir(parents=True)
    page.write_text(f"sample {sample[:8]}")


def test_a_person_is_erased_from_all_that_is_kept(config: RunConfig, tmp_path: Path) -> None:
    store, clips = open_store(config.storage), clips_of()
    write_manifest(clips, store)
    make(config, clips, rejected=(3, 4))
    old = open_dataset(store, "demo", "v1")
    make(replace(config, data=replace(config.data, version="v2")), clips, finish=False)
    sought = keys_of(config, clips, PEOPLE[0])
    traces(config, store, next(row.key for row in old.index if row.key.encode() in sought.keys))
    loser = store.list("datasets/demo/v1/shards")[0]
    make(config_of(tmp_path, name="clean"), [clip for clip in clips if clip.subject == "Bo"])
    store.copy(loser, "datasets/clean/v1/shards/00000-ffffffffffffffff.tar")  # what a dead worker left
    assert scan(store, sought).found

    uri, receipt = run_erase(config, subject=PEOPLE[0], subject_key=None, manifest=None)

    assert scan(store, sought).found == () and receipt.proof["found"] == 0 < receipt.proof["objects"]
    assert receipt.versions == (("demo/v1", "demo/v1-e1", 3), ("demo/v2", None, 0))
    assert verify(store, "demo", "v1-e1", deep=True) == [] and verify(store, "clean", "v1", deep=True) == []
    new = open_dataset(store, "demo", "v1-e1")
    assert (new.info.clips, new.info.rejected) == (6, 1) and new.info.header.derived is not None
    assert new.info.header.derived.erased == 3
    assert {row.key for row in new.index} == {row.key for row in old.index if row.key.encode() not in sought.keys}
    assert store.list("datasets/demo/v1") == ["datasets/demo/v1/tombstone.json"]
    assert [(each.kind, each.verdict) for each in receipt.descendants] == [
        ("checkpoint", "retire"),
        ("checkpoint", "retrain"),
        ("model", "retrain"),
    ]
    assert store.exists("runs/run/evaluation-1/other.html") and not store.exists("runs/run/evaluation-1/report.html")
    assert not (Path(config.storage.cache) / "runs/report.html").exists()
    assert not store.list("erasures/pending") and uri.endswith(f"{receipt.id}.json")
    text = told(uri, receipt) + store.get(f"erasures/{receipt.id}.json").decode()
    assert PEOPLE[0] not in text and not sought.within(text.encode(), "receipt.txt")


def test_the_old_version_is_refused_everywhere_and_the_person_stays_out(config: RunConfig, tmp_path: Path) -> None:
    store, clips = open_store(config.storage), clips_of()
    write_manifest(clips, store)
    make(config, clips)
    before = open_dataset(store, "demo", "v1")
    backup = {key: store.get(key) for key in (*store.list("datasets"), *store.list("annotations"))}
    run_erase(config, subject=PEOPLE[0], subject_key=None, manifest=None)
    for refused in (
        lambda: open_dataset(store, "demo", "v1"),
        lambda: verify(store, "demo", "v1"),
        lambda: make(config, clips),
        lambda: Loader(dataset=before, store=store, examples=[], plan=_NoPlan(), processor=None),  # type: ignore[arg-type]
        lambda: merge(store, [("demo", "v1"), ("demo", "v1-e1")], ("demo", "both")),
    ):
        with pytest.raises(DatasetError, match=r"demo/v1 is tombstoned \(erasure"):
            refused()
    ring = KeyRing.open(config.keys, dataset="demo")
    kept = [clip for clip in clips if clip.subject != PEOPLE[0]]
    assert without_withdrawn(clips, store, ring) == kept
    assert without_withdrawn(clips, store, ring.of("another")) == kept
    lines = [json.dumps({"uri": f"{n}.mp4", "subject": clip.subject, "split": "train"}) for n, clip in enumerate(clips)]
    (tmp_path / "clips.jsonl").write_text("\n".join(lines))
    for number in range(len(clips)):
        (tmp_path / f"{number}.mp4").write_bytes(b"x")
    uri, count = ingest_source(str(tmp_path / "clips.jsonl"), config)
    assert count == 6 and PEOPLE[0] not in {clip.subject for clip in read_manifest(uri, config.storage)}
    for key, data in backup.items():  # somebody restores a backup under another version
        data = data.replace(b'"version":"v1"', b'"version":"restored"').replace(b"demo/v1/", b"demo/restored/")
        store.put(key.replace("/v1/", "/restored/"), data)
    with pytest.raises(DatasetError, match="holds 1 people who withdrew"):
        check(replace(config, data=replace(config.data, version="restored")), deep=True)
    with pytest.raises(DatasetError, match="clips stand in more than one"):
        merge(store, [("demo", "v1-e1"), ("demo", "restored")], ("demo", "both"))
    both = merge(store, [("demo", "v1-e1"), ("demo", "restored")], ("demo", "both"), first_wins=True)
    assert both.samples == both.clips == 6
    assert not scan(store, keys_of(config, clips, PEOPLE[0]), "datasets/demo/both").found


class _NoPlan:
    lengths: tuple[int, ...] = ()

    def micro_steps(self, world: int) -> int:
        return 1


def test_by_subject_key_a_second_time_and_who_is_unknown(config: RunConfig) -> None:
    store, clips = open_store(config.storage), clips_of()
    make(config, clips)
    key = KeyRing.open(config.keys, dataset="demo").subject_key("Ada")
    with pytest.raises(ConfigError, match="no manifest"):
        run_erase(config, subject=None, subject_key=key, manifest=None)
    with pytest.raises(ConfigError, match="name one person"):
        run_erase(config, subject=None, subject_key=None, manifest=None)
    with pytest.raises(DatasetError, match="nobody in the manifests") as unknown:
        run_erase(config, subject="Somebody Else", subject_key=None, manifest=None, without_manifest=True)
    assert "Somebody" not in str(unknown.value)
    with pytest.raises(DatasetError, match="nothing was changed"):
        run_erase(config, subject=None, subject_key=key, manifest=None, without_manifest=True, agree=lambda _: False)
    assert read_info(store, "demo", "v1").samples == 9
    _, receipt = run_erase(config, subject=None, subject_key=key, manifest=None, without_manifest=True)
    assert receipt.versions == (("demo/v1", "demo/v1-e1", 3),) and any("no manifest" in note for note in receipt.notes)
    other = KeyRing.open(config.keys, dataset="demo").subject_key("Bo")
    with pytest.raises(DatasetError, match="erased before"):
        run_erase(config, subject=None, subject_key=key, manifest=None, without_manifest=True)
    _, receipt = run_erase(config, subject=None, subject_key=other, manifest=None, without_manifest=True)
    assert receipt.versions == (("demo/v1-e1", "demo/v1-e2", 3),)
    info = read_info(store, "demo", "v1-e2")
    assert info.samples == 3 and info.header.derived is not None and info.header.derived.erased == 6


STEPS = ("decide", "suppress", "tombstone", "rewrite", "manifests", "remove", "mlflow", "caches", "prove", "receipt")


@pytest.mark.parametrize("stop", STEPS)
def test_an_erasure_that_was_stopped_after_any_step_is_finished_by_the_same_command(
    config: RunConfig, stop: str
) -> None:
    store, clips = open_store(config.storage), clips_of()
    write_manifest(clips, store)
    make(config, clips)

    def die(step: str) -> None:
        if step == stop:
            raise StorageError("killed")

    with pytest.raises(StorageError, match="killed"):
        run_erase(config, subject=PEOPLE[0], subject_key=None, manifest=None, after=die)
    _, receipt = run_erase(config, subject=PEOPLE[0], subject_key=None, manifest=None)
    assert receipt.versions == (("demo/v1", "demo/v1-e1", 3),)
    assert finished(store, config, clips)


def finished(store: Store, config: RunConfig, clips: Sequence[Clip]) -> bool:
    """Nothing of the person, a whole new version, nothing of the old one, nothing pending."""
    assert not scan(store, keys_of(config, clips, PEOPLE[0])).found and not store.list("erasures/pending")
    assert verify(store, "demo", "v1-e1", deep=True) == [] and read_info(store, "demo", "v1-e1").samples == 6
    assert store.list("datasets/demo/v1") == ["datasets/demo/v1/tombstone.json"] and len(store.list("manifests")) == 1
    return len(store.list("annotations")) == 1


class Dying:
    """Kills the store's ``limit``-th change, as a process dies: what was changed before stays."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def patch(self, monkeypatch: pytest.MonkeyPatch, kind: type[Store]) -> None:
        for name in ("put", "put_chunks", "put_new", "copy", "remove", "delete"):
            monkeypatch.setattr(kind, name, self.counted(getattr(kind, name)))

    def counted(self, method: Callable[..., None]) -> Callable[..., None]:
        def change(store: Store, *arguments: Any) -> None:
            if self.left <= 0:
                raise StorageError("killed")
            self.left -= 1
            method(store, *arguments)

        return change


@pytest.mark.slow
def test_an_erasure_that_was_killed_at_any_change_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEMO_ROOT_KEY", os.urandom(32).hex())
    clips, killed = clips_of(), 0
    for limit in range(500):
        config = config_of(tmp_path / str(limit))
        store = open_store(config.storage)
        write_manifest(clips, store)
        make(config, clips)
        with monkeypatch.context() as patch:
            Dying(limit).patch(patch, type(store))
            try:
                run_erase(config, subject=PEOPLE[0], subject_key=None, manifest=None)
            except StorageError:
                killed += 1
            else:
                break
        run_erase(config, subject=PEOPLE[0], subject_key=None, manifest=None)
        assert finished(store, config, clips)
    assert 20 < killed == limit


def test_another_root_key_takes_over_who_withdrew(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    store, clips = open_store(config.storage), clips_of()
    make(config, clips)
    run_erase(config, subject="Ada", subject_key=None, manifest=None, without_manifest=True)
    with pytest.raises(DatasetError, match="erased before"):
        run_erase(config, subject="Ada", subject_key=None, manifest=None, without_manifest=True)
    rings = [KeyRing.open(config.keys, dataset="demo")]
    for _ in range(2):
        monkeypatch.setenv("DEEMO_ROOT_KEY", os.urandom(32).hex())
        rings.append(KeyRing.open(config.keys, dataset="demo"))
        assert len(without_withdrawn(clips, store, rings[-1])) == 9
        take_over(store, rings[-2], rings[-1])
        take_over(store, rings[-2], rings[-1])
        assert len(without_withdrawn(clips, store, rings[-1])) == 6
