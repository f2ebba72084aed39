"""``deemo audit`` on a whole data set, and the gates that a data set passes before its commit."""

import json
from pathlib import Path

import pytest

from tests.system.conftest import Project

pytestmark = [pytest.mark.slow, pytest.mark.system]

WEAK = (
    "data.version=weak",
    "data.allow_weak_policy=true",
    "policy.faces=blur",
    "policy.gates.pixel_correlation=null",
    "policy.gates.residual_faces=1.0",
    "policy.gates.rank1_over_chance=0.1",
    "policy.gates.clips=12",
)


def manifest_of(project: Project) -> str:
    return next(item for item in project.extra if item.startswith("data.manifest=")).removeprefix("data.manifest=")


def names_of(raw: Path) -> set[str]:
    """Subjects and file names of the raw clips."""
    rows = [json.loads(line) for line in (raw / "everything.jsonl").read_text().splitlines()]
    return {row["subject"] for row in rows} | {Path(row["uri"]).stem for row in rows}


def test_a_data_set_is_attacked_and_its_report_names_nobody(project: Project, raw: Path) -> None:
    said = project.deemo("audit", "--raw", manifest_of(project), "--clips", "12")
    prefix = "datasets/tiny/v1/audit"
    page = project.store.get(f"{prefix}/report.html").decode()
    figures = json.loads(project.store.get(f"{prefix}/figures.json"))
    assert (figures["clips"], figures["people"]) == (12, 6)
    by_kind = {(item["kind"], item["gallery"], item["crop"]): item["linkage"] for item in figures["attacks"]}
    assert by_kind["none", "clear", "face"]["rank1"]["value"] > 0.7
    assert by_kind["blur", "alike", "face"]["rank1"]["value"] > 0.5
    assert by_kind["released", "clear", "face"]["match"]["value"] == 0.0
    assert by_kind["released", "clear", "head"]["match"]["value"] == 0.0
    assert by_kind["released", "alike", "face"]["rank1"]["low"] <= 1 / 6
    assert figures["words"]["recall"]["value"] == 1.0
    (voices,) = figures["speakers"]
    assert (voices["method"], voices["speakers"], voices["utterances"]) == ("world", 6, 12)
    assert [item["attacker"] for item in voices["attacks"]] == ["raw", "ignorant", "lazy-informed", "grid-informed"]
    assert "voices under world: not estimable: 0 speakers with 5 utterances, 20 are needed" in said
    assert "0 speakers with 5 utterances" in page
    assert figures["utility"]["f0_correlation"]["median"] > 0.9
    assert abs(figures["utility"]["sync_ms"]["median"]) < 20
    for name in names_of(raw):
        assert name not in page + said + json.dumps(figures)


def test_without_the_raw_clips_the_rest_is_measured(project: Project) -> None:
    project.deemo("audit", "--clips", "4")
    figures = json.loads(project.store.get("datasets/tiny/v1/audit/figures.json"))
    assert figures["attacks"] == []
    assert figures["picture"] is not None
    assert figures["residual"]["count"] > 0


def test_a_manifest_of_other_clips_is_refused(project: Project) -> None:
    said = project.deemo("audit", "--raw", manifest_of(project), "--clips", "2", more=["data.name=other"], code=1)
    assert "not there or not complete" in said


def test_a_data_set_over_its_gate_is_not_committed_and_its_shards_are_deleted(project: Project) -> None:
    said = project.deemo("preprocess", more=WEAK, code=1)
    assert "is not committed and its shards are deleted" in said
    assert "rank-1 with a gallery masked alike" in said
    left = project.store.list("datasets/tiny/weak")
    assert {key.rsplit("/", 1)[-1] for key in left} == {"header.json", "figures.json"}
