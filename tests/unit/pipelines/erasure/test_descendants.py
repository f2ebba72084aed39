"""What learned from a dataset that is no more: every checkpoint and model of it, and none that did not."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deemo_dist.config import StorageConfig
from deemo_dist.storage import Store, open_store
from deemo_dist.training.checkpoint.layout import commit_from_json
from pipelines.erasure.descendants import RETIRE, RETRAIN, descendants
from pipelines.train import learned_from

BIG, SMALL = "d" * 64, "e" * 64
ALIGN, INSTRUCT = "a" * 64, "b" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StorageConfig(root=f"file://{tmp_path}"))


def commit(store: Store, stage: str, key: str, *, step: int = 20, final: bool = True, **extra: Any) -> str:
    value = {"stage_key": key, "step": step, "attempt": 1, "world": 1, "final": final, "receipts": [], "state": {}}
    where = f"runs/r/{stage}-{key[:12]}/commits/{step:08d}-0001.json"
    store.put(where, json.dumps({**value, "extra": extra, "version": 1}).encode())
    return where


def found(store: Store, digest: str, replaced: bool = True) -> dict[str, str]:
    return {each.key: each.verdict for each in descendants(store, [digest], [digest] if replaced else [])}


def test_models_whose_adapters_are_apart_are_listed(store: Store) -> None:
    where = commit(store, "instruct", INSTRUCT, datasets={"datasets/small/v1": SMALL})
    for place in (f"models/r/{INSTRUCT[:12]}", f"models/r/{INSTRUCT[:12]}-adapters", f"models/r/{'c' * 12}"):
        store.put(f"{place}/config.json", b"{}")
    expected = dict.fromkeys((where, f"models/r/{INSTRUCT[:12]}", f"models/r/{INSTRUCT[:12]}-adapters"), RETRAIN)
    assert found(store, SMALL) == expected
    assert set(found(store, SMALL, replaced=False).values()) == {RETIRE}


def test_later_stages_learned_what_the_ones_before_did(store: Store) -> None:
    first = commit(store, "align", ALIGN, datasets={"datasets/big/v1": BIG})
    half = commit(store, "instruct", INSTRUCT, step=10, final=False, datasets={"datasets/small/v1": SMALL})
    end = commit(store, "instruct", INSTRUCT, datasets={"datasets/small/v1": SMALL})
    store.put(f"models/r/{INSTRUCT[:12]}/config.json", b"{}")
    model = f"models/r/{INSTRUCT[:12]}"
    assert found(store, BIG) == {first: RETRAIN, half: RETIRE, end: RETRAIN, model: RETRAIN}
    assert found(store, SMALL) == {half: RETIRE, end: RETRAIN, model: RETRAIN}


def test_a_commit_that_names_the_stages_before_it_is_taken_at_its_word(store: Store) -> None:
    first = commit(store, "align", ALIGN, datasets={"datasets/big/v1": BIG})
    done = [commit_from_json(store.get(first), first)]
    stage: Any = SimpleNamespace(datasets=[SimpleNamespace(prefix="datasets/small/v1", digest=SMALL)])
    said = learned_from(stage, done)
    assert said["datasets"] == {"datasets/big/v1": BIG, "datasets/small/v1": SMALL}
    end = commit(store, "instruct", INSTRUCT, **said)
    alone = commit(store, "other", "f" * 64, **learned_from(stage, []))
    assert set(found(store, BIG)) == {first, end} and set(found(store, SMALL)) == {end, alone}
