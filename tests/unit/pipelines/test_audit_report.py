"""What ``deemo audit`` says of the policy that a data set was made by, and reads of files that others wrote."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from deemo_dist.config import RunConfig
from pipelines.audit import AuditResult, run_audit
from pipelines.cli import app
from tests.made import clips_of, make


def audited(config: RunConfig) -> AuditResult:
    return run_audit(config, raw=None, boxes=None, names=None, clips=2)


def test_the_policy_is_the_data_sets_and_another_of_the_run_is_named_beside_it(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = make(config, clips_of(3))
    assert info is not None
    same = audited(config)
    assert (same.figures.policy, same.figures.judged_by, same.figures.other_policy) == (info.header.policy, "", "")
    assert same.figures.policy_digest == info.header.policy_digest
    gates = replace(config.policy.gates, face_match=0.0)
    other = replace(config, policy=replace(config.policy, name="harsh", gates=gates))
    found = audited(other)
    assert found.figures.policy == info.header.policy
    assert found.figures.judged_by.startswith("harsh (")
    assert [verdict.outcome for verdict in found.figures.verdicts] == ["not estimable"]
    monkeypatch.setattr("pipelines.verbs.preparing.load_run", lambda *_: other)
    said = CliRunner().invoke(app, ["audit", "-c", "demo", "--clips", "2"]).output
    assert f"note: the data set was made by the policy {info.header.policy}" in said
    assert "not by this run's, harsh (" in said
