"""A data set that fails a gate before its commit: nothing of its footage stays, in a bucket that keeps versions too."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from deemo_dist.config import RunConfig
from deemo_dist.deid.audit.figures import Verdict
from deemo_dist.errors import DatasetError
from pipelines.audit import audit_gate
from tests.made import clips_of, make
from tests.versioned import VersionedStore


def test_what_fails_a_gate_is_gone_with_its_older_versions(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    store = VersionedStore()
    for where in ("pipelines.audit", "tests.made"):
        monkeypatch.setattr(f"{where}.open_store", lambda _: store)
    make(config, clips_of(), finish=False)
    for key in store.list("datasets/demo/v1/shards"):
        store.copy(key, key)  # an older version of each

    def failed(*_: Any, **__: Any) -> Any:
        verdict = Verdict(gate="face_match", measured=".9", allowed=".1", outcome="failed")
        return None, SimpleNamespace(verdicts=(verdict,))

    monkeypatch.setattr("pipelines.audit.audit", failed)
    monkeypatch.setattr("pipelines.audit.as_json", lambda _: b"{}")
    gates = replace(config.policy.gates, face_match=0.1)
    with pytest.raises(DatasetError, match="is not committed and its shards are deleted: face_match"):
        audit_gate(replace(config, policy=replace(config.policy, gates=gates)), clips_of())
    left = {stored.key for stored in store.history("")}
    assert left == {"datasets/demo/v1/header.json", "datasets/demo/v1/audit/figures.json"}
