"""The driver over loaded examples, and the report as HTML."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from deemo_dist.errors import ModelError
from deemo_dist.evaluation import answers_of, conditions, deid_figures, evaluate, explain, render_report, write_report
from deemo_dist.evaluation.plots import smoothed
from tests.unit.evaluation.conftest import CHOICES, attestation, loaded, row, score


def test_conditions_are_each_alone_and_each_left_out():
    assert list(conditions()) == [
        "all",
        *("video", "audio", "cues", "text", "body"),
        *("without_video", "without_audio", "without_cues", "without_text"),
    ]
    assert conditions(("text", "video")) == {"all": ("video", "text"), "video": ("video",), "text": ("text",)}
    assert conditions(("audio",)) == {"all": ("audio",)}
    assert conditions()["body"] == ("video", "cues") and "body" not in conditions(("video", "audio", "text"))


def test_the_driver_fills_every_table(evaluation):
    assert (evaluation.likelihood.samples, evaluation.likelihood.subjects) == (200, 25)
    rows = {item.name: item for item in evaluation.ablation}
    assert set(rows) == set(conditions())
    assert rows["all"].change is None and rows["video"].change.high < 0
    assert rows["video"].recognition.accuracy.value < rows["all"].recognition.accuracy.value
    assert evaluation.generation.parse_failures > 0
    assert set(answers_of(evaluation).values()) == set(CHOICES)


def test_a_missing_medium_is_skipped_and_counted_never_zeroed():
    seen = []

    def watching(batch, choices):
        seen.extend((item.example.modalities, item.media) for item in batch)
        return score(batch, choices)

    mute = loaded(1)
    mute = dataclasses.replace(mute, media=dataclasses.replace(mute.media, waveform=None))
    found = evaluate([[loaded(0), mute, loaded(8)]], CHOICES, score=watching, resamples=10)
    rows = {item.name: item for item in found.ablation}
    assert rows["audio"].skipped == 1 and rows["audio"].recognition.samples == 2
    assert rows["audio"].change is not None
    for modalities, media in seen:
        assert (media.frames is not None) == ("video" in modalities)
        assert (media.waveform is not None) == ("audio" in modalities)
        assert (media.cues is not None) == ("cues" in modalities)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (lambda batch, choices: np.zeros((len(batch), 5)), "shape"),
        (lambda batch, choices: np.full((len(batch), len(choices)), np.nan), "not finite"),
    ],
)
def test_scores_that_cannot_be_are_refused(bad, words):
    with pytest.raises(ModelError, match=words):
        evaluate([[loaded(0)]], CHOICES, score=bad)


def test_an_example_without_a_label_is_refused():
    bare = loaded(0)
    bare = dataclasses.replace(bare, example=dataclasses.replace(bare.example, answer=None))
    with pytest.raises(ModelError, match="no label"):
        evaluate([[bare]], CHOICES, score=score)


def test_explanations_carry_their_truth():
    (found,) = explain([[loaded(5)]], lambda batch: ["because"], truths={f"{5:032x}": "positive"})
    assert (found.truth, found.generated, found.answer) == ("positive", "because", None)
    with pytest.raises(ModelError, match="0 texts for 1"):
        explain([[loaded(5)]], lambda batch: [], truths={})


def test_nothing_to_explain_is_asked_of_nobody():
    assert explain([], lambda batch: pytest.fail("asked"), truths={}) == ()


def test_deid_figures_weigh_by_audited_frames():
    index = [
        row(0, attestation=attestation(audited_frames=10, residual_face_rate=0.1)),
        row(1, attestation=attestation(audited_frames=30, residual_face_rate=0.0, pii_entities=0)),
    ]
    found = deid_figures(index, [])
    assert found.residual_face_rate == pytest.approx(0.025) and found.worst_residual == 0.1
    assert (found.audited_frames, found.pii_entities, found.clips_with_pii) == (40, 2, 1)
    assert np.isnan(deid_figures([], []).residual_face_rate)


class _Page(HTMLParser):
    """Collects links, and checks that tags close in order."""

    VOID = frozenset({"meta", "img", "link", "br"})

    def __init__(self):
        super().__init__()
        self.open, self.links, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _parsed(html: str) -> _Page:
    page = _Page()
    page.feed(html)
    assert not page.open
    return page


def test_the_report_is_one_file_escaped_and_complete(report_data, tmp_path):
    path = write_report(report_data, tmp_path / "deep" / "report.html")
    html = path.read_text()
    page = _parsed(html)
    assert page.links and all(link.startswith("data:") for link in page.links)
    assert "script" not in page.tags and "&lt;script&gt;alert(1)" in html
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?https?:", html)
    assert page.tags.count("video") == 1 and page.tags.count("figure") == 7
    for words in (
        "blazeface-short",
        "did not do the masking",
        "deid: residual_face",
        "nano model",
        "Pseudonymous data",
        "not an inner state",
        "Synthetic data",
        "95 %: ",
        "204 = 200 written + 4 rejected",
        "9a" * 32,
    ):
        assert words in html, words
    assert "anonymous" not in html.replace("Pseudonymous", "").replace("pseudonymous", "")
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]


def test_a_bare_report_has_no_empty_sections(report_data):
    bare = dataclasses.replace(
        report_data,
        evaluation=dataclasses.replace(report_data.evaluation, generation=None, ablation=(), subgroups=()),
        pictures=(),
        film=None,
        stages=(),
        explanations=(),
        mlflow={},
        synthetic="",
        deid=deid_figures([], []),
        model="7b",
        title="<b>& $a$",
        config_yaml="",
    )
    html = render_report(bare)
    _parsed(html)
    assert "<b>&amp; $a$" not in html and "&lt;b&gt;&amp; $a$" in html
    for absent in ("After masking", "By subgroup", "Explanations", "Training</h2>", "nano", "Synthetic data"):
        assert absent not in html, absent


def judged(report_data, right, **rest):
    """A page of an evaluation of subjects with so many clips each, right or wrong."""
    numbers = [8 * subject + turn for subject, answers in enumerate(right) for turn in range(len(answers))]
    truths = np.eye(2)[[number % 2 for number in numbers]]
    answers = np.array([answer for answers in right for answer in answers])[:, None]
    scores = np.where(answers, truths, 1 - truths)
    batch = [loaded(number) for number in numbers]
    found = evaluate([batch], CHOICES, score=lambda items, choices: scores, ablations=False, **rest)
    return render_report(dataclasses.replace(report_data, evaluation=found))


def test_few_subjects_are_no_ground_for_a_verdict(report_data):
    page = judged(report_data, [[True] * 4] * 4)
    assert "On 16 clips of 4 subjects" in page and "under 5 subjects nothing follows from it" in page
    assert "whole interval lies above chance" not in page and "95 %: 0.40 \u2013 1.00" in page
    assert "its whole interval lies above chance" in judged(report_data, [[True] * 4] * 8)


def test_an_interval_that_nobody_asked_for_is_not_blamed_on_one_subject(report_data):
    page = judged(report_data, [[True, False, True]] * 6, resamples=0)
    assert "no interval (evaluation.bootstrap is 0)" in page and "one subject" not in page
    assert "no interval (one subject)" in judged(report_data, [[True, False, True]])


def test_clips_without_subjects_are_not_counted_as_people(report_data):
    alone = [row(number, subject_key=f"s{number}") for number in range(9)]
    page = judged(dataclasses.replace(report_data, deid=deid_figures(alone, [])), [[True]] * 4 + [[False]] * 5)
    assert "9 clips, each counted as another subject&#39;s (how many people they are is not known)" in page
    assert "<dt>Subjects</dt><dd>not known: every clip counts as another subject's</dd>" in page
    assert "9 subjects" not in page and "of 9 subjects" in judged(report_data, [[True]] * 4 + [[False]] * 5)


def test_smoothing_keeps_a_line_and_its_ends():
    line = np.arange(100.0)
    assert np.allclose(smoothed(line), line)
    assert len(smoothed([3.0])) == 1
