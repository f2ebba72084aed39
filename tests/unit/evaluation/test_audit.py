import json
from dataclasses import replace

import numpy as np
import pytest

from deemo_dist.config import GatesConfig
from deemo_dist.deid.audit.coverage import coverage
from deemo_dist.deid.audit.figures import ALIKE, CLEAR, Attack, AuditFigures, Words, judge, spread
from deemo_dist.deid.audit.linkage import Template, link
from deemo_dist.deid.audit.speakers import ATTACKERS, SpeakerAttack, SpeakerFigures
from deemo_dist.deid.audit.statistics import share
from deemo_dist.deid.body.linkage import CueLinkage
from deemo_dist.evaluation.audit import render_audit
from pipelines.audit import as_json

STILLS = [np.full((48, 64, 3), 20 * shade, dtype=np.uint8) for shade in range(3)]


def speakers(method: str, full: int) -> SpeakerFigures:
    eer = share({"a": [0.0, 1.0], "b": [0.0, 0.0]})
    attacks = [SpeakerAttack(attacker=name, eer=eer, curve=((0.0, 0.0), (1.0, 1.0))) for name in ATTACKERS]
    return SpeakerFigures(
        method=method, reader="an ear", speakers=full, utterances=5 * full, full=full, attacks=tuple(attacks)
    )


@pytest.fixture
def bare() -> AuditFigures:
    """What an audit without the raw manifest has."""
    return AuditFigures(
        dataset="<b>toy</b> v1", policy="strict", faces="fill", voice="prosody", clips=3, people=3, looks=54,
        detector="a detector", reader="a reader", residual=share({"a": [0.0] * 54}), sensitivity=share({}),
        correlation=None, coverage=None, attacks=(), picture=None, words=None, utility={},
    )  # fmt: skip


@pytest.fixture
def full(bare: AuditFigures) -> AuditFigures:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(12, 8))
    linkage = link([Template(str(n), str(n // 2), vector, vector) for n, vector in enumerate(vectors)])
    made = replace(
        bare,
        attacks=tuple(
            Attack(kind=kind, gallery=gallery, linkage=linkage)
            for kind in ("none", "released", "mosaic", "blur")
            for gallery in (CLEAR, ALIKE)
        ),
        picture=linkage,
        coverage=coverage([1.0] * 300),
        correlation=spread([0.01, 0.02]),
        sensitivity=share({"a": [1.0] * 54}),
        words=Words(
            there=40,
            recall=share({"a": [1.0] * 40}),
            wer=0.1,
            heard=90,
            found=50,
            found_recall=share({"a": [1.0] * 50}),
        ),
        utility={"f0_correlation": spread([0.97, 0.99]), "unheard_of": spread([1.0])},
        speakers=(speakers("world", 24), speakers("mcadams", 3)),
        movement={"after": CueLinkage(rank1=share({"a": [1.0, 0.0]}), chance=0.5, subjects=2, attacker="a forest")},
    )
    return replace(made, verdicts=judge(made, GatesConfig(face_match=0.0, rank1_over_chance=0.1, pii_recall=0.95)))


def test_the_report_says_what_still_links_and_escapes(bare: AuditFigures, full: AuditFigures) -> None:
    for figures in (bare, full):
        page = render_audit(figures, STILLS)
        assert "Movement style, clothing, place and wording still link" in page
        assert "<b>toy</b>" not in page
        assert "&lt;b&gt;toy" in page
        assert "http:" not in page.replace("http://www.w3.org", "")
        assert "<script" not in page
        assert page.count("data:image/png") == len(STILLS)


def test_the_report_shows_intervals_gates_and_curves(full: AuditFigures) -> None:
    page = render_audit(full, STILLS)
    assert page.count("data:image/svg+xml") == 4
    for words in ("95 %", "not estimable", "at most 0.99", "Gates", "a forest", "grid-informed, guessing 0.5"):
        assert words in page
    assert "mcadams: not estimable: 3 speakers with 5 utterances, 20 are needed" in page


def test_true_boxes_that_were_not_looked_at_are_shown(full: AuditFigures) -> None:
    assert "Boxes not looked at" not in render_audit(full, STILLS)
    page = render_audit(replace(full, coverage=coverage([], given=7)), STILLS)
    assert "<dt>Boxes not looked at</dt><dd>7, of clips" in page
    assert "No true box was looked at: nothing is known." in page


def test_figures_are_plain_numbers_without_templates(full: AuditFigures, bare: AuditFigures) -> None:
    read = json.loads(as_json(full))
    assert read["coverage"]["boxes"] == 300
    assert json.loads(as_json(bare))["sensitivity"]["value"] is None
    longest = max(len(item["linkage"]["roc"]) for item in read["attacks"])
    assert longest < 64


def test_a_policy_that_is_not_the_runs_is_told(full: AuditFigures) -> None:
    assert "Another policy" not in render_audit(full, STILLS)
    page = render_audit(replace(full, policy_digest="0123456789abcdef", judged_by="<i>mild</i> (fedcba987654)"), STILLS)
    assert "made by the policy strict (0123456789ab), not by this run&#39;s, &lt;i&gt;mild" in page
    assert "gates are those of the run" in page
