"""``deemo dataset show``: what is told of a version."""

from dataclasses import replace

from deemo_dist.config import GatesConfig, RunConfig
from deemo_dist.deid.audit.figures import Words, judge
from deemo_dist.deid.audit.statistics import share
from deemo_dist.storage import open_store
from pipelines.audit import as_json
from pipelines.datasets import describe
from tests.made import clips_of, make
from tests.unit.deid.audit.test_figures import figures


def test_a_gate_that_nobody_could_judge_is_shown_and_not_as_passed(config: RunConfig) -> None:
    make(config, clips_of())
    assert "gate " not in describe(config)
    found = figures(None, words=Words(there=9, recall=share({"a": [1.0] * 9})))
    found = replace(found, verdicts=judge(found, GatesConfig(rank1_over_chance=0.1, pii_recall=0.95)))
    open_store(config.storage).put("datasets/demo/v1/audit/figures.json", as_json(found))
    shown = describe(config)
    assert (
        "gate         passed: names that are gone from the texts: 100.0% of 9 known to the manifest (at least 95%)"
        in shown
    )
    assert shown.count("gate         not estimable: rank-1 with a") == 2


def test_clips_without_subjects_are_not_told_as_people(config: RunConfig) -> None:
    make(config, clips_of())
    assert "subjects     3\n" in describe(config)
    other = replace(config, data=replace(config.data, version="v2"))
    make(other, [replace(clip, subject=f"clip {number}") for number, clip in enumerate(clips_of())])
    assert "subjects     9, one a clip: how many people they are is not known\n" in describe(other)
