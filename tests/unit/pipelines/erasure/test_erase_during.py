"""An erasure while jobs run: whatever they had read of the suppression list, the person does not come back by them."""

from dataclasses import replace

import pytest

from deemo_dist.config import RunConfig
from deemo_dist.dataset import open_dataset, verify
from deemo_dist.dataset.lifecycle.combine import merge
from deemo_dist.dataset.lifecycle.scan import Sought, scan
from deemo_dist.deid import KeyRing
from deemo_dist.errors import DatasetError
from deemo_dist.storage import Store
from pipelines import preprocess
from pipelines.datasets import open_allowed
from pipelines.erasure.withdrawn import refuse_withdrawn
from tests.erasing import CLIPS, at, erase
from tests.made import PEOPLE, make


def another(config: RunConfig, version: str) -> RunConfig:
    return replace(config, data=replace(config.data, version=version))


def is_clean(store: Store, config: RunConfig) -> bool:
    ring = KeyRing.open(config.keys, dataset=config.data.name)
    mine = [ring.sample_key(clip.uri) for clip in CLIPS if clip.subject == PEOPLE[0]]
    return not scan(store, Sought.of([ring.subject_key(PEOPLE[0]), *mine])).found


def test_a_version_that_has_nothing_but_its_header_ends_too(config: RunConfig, store: Store) -> None:
    late = another(config, "v2")
    make(late, CLIPS, finish=False, first=0)
    receipt = erase(config)
    assert receipt.versions == (("demo/v1", "demo/v1-e1", 3), ("demo/v2", None, 0))
    with pytest.raises(DatasetError, match="demo/v2 is tombstoned"):
        make(late, CLIPS)
    assert store.list("datasets/demo/v2") == ["datasets/demo/v2/tombstone.json"] and is_clean(store, config)


@pytest.mark.parametrize("step", ["decide", "suppress"])
def test_a_version_that_is_begun_while_the_erasure_is_decided_ends_too(
    config: RunConfig, store: Store, step: str
) -> None:
    begin = at(step, lambda: make(another(config, "v2"), CLIPS, finish=False, first=1))
    assert erase(config, after=begin).versions[1:] == (("demo/v2", None, 0),)
    assert store.list("datasets/demo/v2") == ["datasets/demo/v2/tombstone.json"] and is_clean(store, config)


def test_a_version_that_is_committed_meanwhile_is_replaced_too(config: RunConfig, store: Store) -> None:
    receipt = erase(config, after=at("decide", lambda: make(another(config, "v2"), CLIPS)))
    assert receipt.versions == (("demo/v1", "demo/v1-e1", 3), ("demo/v2", "demo/v2-e1", 3))
    assert verify(store, "demo", "v2-e1", deep=True) == [] and is_clean(store, config)


def test_a_merge_of_a_version_that_is_erased_ends(config: RunConfig, store: Store) -> None:
    make(another(config, "v2"), CLIPS[:4])

    def die() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        merge(store, [("demo", "v1"), ("demo", "v2")], ("demo", "both"), first_wins=True, on_unit=die)
    assert ("demo/both", None, 0) in erase(config).versions and is_clean(store, config)


def test_a_unit_that_comes_after_the_proof_is_refused(config: RunConfig, store: Store) -> None:
    late, refused = another(config, "v2"), []
    make(late, CLIPS, finish=False, first=0)

    def work_on() -> None:
        with pytest.raises(DatasetError, match="tombstoned") as caught:
            make(late, CLIPS, finish=False)
        refused.append(caught.value)

    erase(config, after=at("prove", work_on))
    assert refused and is_clean(store, config)


def test_what_no_manifest_told_is_refused_when_it_is_compacted(config: RunConfig, store: Store) -> None:
    """By its key alone nobody knows from which manifest a version was begun: what it holds at its end is looked at."""
    for key in store.list("manifests"):
        store.delete(key)
    late = another(config, "v2")
    make(late, CLIPS, finish=False, first=0)
    key = KeyRing.open(config.keys, dataset="demo").subject_key(PEOPLE[0])
    erase(config, subject=None, subject_key=key, without_manifest=True)
    with pytest.raises(DatasetError, match=r"1 clips of a unit are of people who withdrew under the root key .* erase"):
        make(late, CLIPS)
    assert not store.exists("datasets/demo/v2/dataset.json")


def test_a_driver_that_read_the_manifest_before_refuses_to_commit(
    config: RunConfig, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (manifest,) = store.list("manifests")
    late = another(config, "v2")
    late = replace(late, data=replace(late.data, manifest=store.uri(manifest)))
    monkeypatch.setattr("pipelines.audit.audit_gate", lambda config, clips: None)
    monkeypatch.setattr(preprocess, "_do_units", lambda *_: erase(config))
    with pytest.raises(DatasetError, match=r"1 people withdrew .* while demo/v2 was being made"):
        preprocess.run_preprocess(late)
    assert store.list("datasets/demo/v2") == ["datasets/demo/v2/tombstone.json"] and is_clean(store, config)
    ring = KeyRing.open(config.keys, dataset="demo")
    refuse_withdrawn([clip for clip in CLIPS if clip.subject != PEOPLE[0]], store, ring, "demo/v2")


def test_training_refuses_a_backup_with_somebody_who_withdrew(config: RunConfig, store: Store) -> None:
    backup = {key: store.get(key) for key in (*store.list("datasets"), *store.list("annotations"))}
    erase(config)
    for key, data in backup.items():
        data = data.replace(b'"version":"v1"', b'"version":"restored"').replace(b"demo/v1/", b"demo/restored/")
        store.put(key.replace("/v1/", "/restored/"), data)
    assert open_dataset(store, "demo", "restored").info.samples == 9
    with pytest.raises(DatasetError, match="holds 1 people who withdrew"):
        open_allowed(another(config, "restored"), store)
    assert open_allowed(another(config, "v1-e1"), store).info.samples == 6
