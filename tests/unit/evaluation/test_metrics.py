"""Figures against scikit-learn, and the bootstrap over subjects."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from deemo_dist.errors import ModelError
from deemo_dist.evaluation import Prediction, by_likelihood, by_subgroup, choose, parse_answer, recognise, widest_gap
from deemo_dist.evaluation.metrics import (
    ALIKE,
    accuracy,
    confusions_by_subject,
    difference,
    estimate,
    macro_f1,
    resampled,
    weighted_f1,
)

CHOICES = ("calm", "glad", "sad")
ANSWERS = st.lists(st.tuples(st.sampled_from(CHOICES), st.sampled_from([*CHOICES, None])), min_size=1, max_size=40)


def predict(truth: str, answer: str, subject: str, **rest) -> Prediction:
    scores = {choice: float(choice == answer) for choice in CHOICES}
    return Prediction(key=f"{truth}{answer}{subject}", subject_key=subject, truth=truth, scores=scores, **rest)


@settings(deadline=None, max_examples=60)
@given(ANSWERS)
def test_figures_are_those_of_scikit_learn(pairs):
    truths, answers = zip(*pairs, strict=True)
    said = [answer or "unread" for answer in answers]
    total = confusions_by_subject(truths, answers, ["s"] * len(pairs), CHOICES).sum(0)
    labels = sorted((set(truths) | set(said)) - {"unread"})
    assert accuracy(total) == pytest.approx(accuracy_score(truths, said))
    for metric, average in ((macro_f1, "macro"), (weighted_f1, "weighted")):
        wanted = f1_score(truths, said, labels=labels, average=average, zero_division=0)
        assert metric(total) == pytest.approx(wanted)


def test_the_bootstrap_draws_subjects_not_clips():
    """20 subjects who are all right or all wrong: clips of one person say nothing new."""
    truths = ["calm"] * 400
    answers = ["calm" if number // 20 % 2 else "sad" for number in range(400)]
    subjects = [f"s{number // 20}" for number in range(400)]
    people = confusions_by_subject(truths, answers, subjects, CHOICES)
    clips = confusions_by_subject(truths, answers, [str(number) for number in range(400)], CHOICES)
    wide = estimate(accuracy, people, resamples=2000, seed=0)
    narrow = estimate(accuracy, clips, resamples=2000, seed=0)
    assert wide.high - wide.low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(20), rel=0.12)
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(400), rel=0.12)
    assert estimate(accuracy, people, resamples=2000, seed=0) == wide


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    inside = 0
    for trial in range(150):
        skill = random.beta(7, 3, size=30)
        right = random.random((30, 8)) < skill[:, None]
        counts = np.zeros((30, 2, 3), dtype=np.int64)
        counts[:, 0, 0], counts[:, 0, 1] = right.sum(1), 8 - right.sum(1)
        found = estimate(accuracy, counts, resamples=400, seed=trial)
        inside += found.low <= 0.7 <= found.high
    assert 0.88 <= inside / 150 <= 1.0


def test_one_subject_has_no_interval():
    found = recognise([predict("sad", "sad", "one")] * 5, CHOICES)
    assert found.accuracy.value == 1.0 and found.accuracy.low is None and found.accuracy.high is None


def test_an_interval_that_is_not_there_says_why():
    found = recognise([predict("sad", "sad", "one")] * 5, CHOICES)
    assert found.accuracy.missing == "one subject"
    rows = [predict("sad", "sad" if n else "glad", f"s{n}") for n in range(6)]
    unasked = recognise(rows, CHOICES, resamples=0)
    assert (unasked.subjects, unasked.accuracy.low) == (6, None)
    assert unasked.accuracy.missing == unasked.macro_f1.missing == "evaluation.bootstrap is 0"


@pytest.mark.parametrize(("subjects", "clips"), [(2, 1), (6, 2), (30, 8)])
def test_subjects_that_are_all_right_leave_room_for_those_that_are_not(subjects, clips):
    rows = [predict("sad", "sad", f"s{n % subjects}") for n in range(subjects * clips)]
    found = recognise(rows, CHOICES)
    assert (found.accuracy.value, found.accuracy.high) == (1.0, 1.0)
    assert found.accuracy.low == pytest.approx(0.025 ** (1 / subjects))
    assert (found.macro_f1.value, found.macro_f1.low, found.macro_f1.missing) == (1.0, None, ALIKE)


def test_subjects_with_one_error_each_have_an_interval_too():
    rows = [predict("sad", answer, f"s{n}") for n in range(6) for answer in ("sad", "sad", "sad", "glad")]
    found = recognise(rows, CHOICES).accuracy
    assert found.low < 0.6 and found.value == 0.75 and found.high > 0.88


def test_paired_differences_that_are_all_the_same_have_no_interval():
    ours = confusions_by_subject(["sad", "sad"] * 6, ["sad", "sad"] * 6, [f"s{n // 2}" for n in range(12)], CHOICES)
    theirs = confusions_by_subject(["sad", "sad"] * 6, ["sad", "glad"] * 6, [f"s{n // 2}" for n in range(12)], CHOICES)
    found = difference(accuracy, ours, theirs, resamples=200, seed=0)
    assert (found.value, found.low, found.missing) == (0.5, None, ALIKE)


def test_paired_differences_of_equal_answers_are_zero():
    counts = confusions_by_subject(["sad", "calm"] * 10, ["sad", "sad"] * 10, list("abcdefghij") * 2, CHOICES)
    found = difference(accuracy, counts, counts, resamples=200, seed=0)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("glad", "glad"),
        ("The emotion is Glad.", "glad"),
        ("GLAD! So glad", "glad"),
        ("gladly", None),
        ("not glad", None),
        ("this isn't really glad", None),
        ("glad or sad", None),
        ("", None),
        ("1-10", None),
        ("I feel \U0001f600", None),
    ],
)
def test_answers_are_read_and_never_guessed(text, answer):
    assert parse_answer(text, CHOICES) == answer


def test_a_choice_inside_a_longer_one_is_not_named():
    assert parse_answer("it is very  calm", ("calm", "very calm")) == "very calm"
    assert parse_answer("a+b", ("a+b", "c")) == "a+b"


def test_ties_and_scores_that_are_not_finite_decide_nothing():
    base = {"key": "k", "subject_key": "s", "truth": "a"}
    assert by_likelihood(Prediction(**base, scores={"a": -1.0, "b": -1.0})) is None
    assert by_likelihood(Prediction(**base, scores={"a": float("nan"), "b": -1.0})) is None
    assert by_likelihood(Prediction(**base, scores={"a": -3.0, "b": -1.0})) == "b"


def test_both_ways_of_answering_chance_and_failures():
    rows = [
        predict("sad", "sad", f"s{n}", generated=text) for n, text in enumerate(["sad", "glad", "?", "sad or calm"])
    ]
    rows.append(predict("calm", "sad", "s9", generated="calm"))
    first, second = recognise(rows, CHOICES), recognise(rows, CHOICES, method="generation")
    assert first.accuracy.value == 0.8 and second.accuracy.value == 0.4
    assert (first.parse_failures, second.parse_failures) == (0, 2)
    assert (first.chance_majority, first.chance_uniform) == (0.8, pytest.approx(1 / 3))
    assert second.confusion == ((1, 0, 0, 0), (0, 0, 0, 0), (0, 1, 1, 2))


def test_wrong_input_is_named():
    with pytest.raises(ModelError, match="nothing to judge"):
        recognise([], CHOICES)
    with pytest.raises(ModelError, match="no way of answering"):
        recognise([predict("sad", "sad", "s")], CHOICES, method="telepathy")
    with pytest.raises(ModelError, match="such as 'furious'"):
        recognise([predict("furious", "sad", "s")], CHOICES)


def test_subgroups_have_counts_and_mark_the_small_ones():
    rows = [predict("sad", "sad" if n % 3 else "glad", f"s{n}", subgroup={"age": "old"}) for n in range(12)]
    rows += [predict("sad", "sad", f"t{n}", subgroup={"age": "young"}) for n in range(6)]
    rows += [predict("sad", "sad", "lonely")]
    table = {row.value: row for row in by_subgroup(rows, CHOICES)}
    assert set(table) == {"old", "young", "unknown"}
    assert table["unknown"].few and not table["old"].few
    assert (table["old"].recognition.samples, table["old"].recognition.subjects) == (12, 12)
    assert widest_gap(tuple(table.values())) == {"age": pytest.approx(1 / 3)}


def test_explanations_are_spread_over_labels():
    assert choose(["a", "a", "a", "b", "c"], 4) == [0, 3, 4, 1]
    assert choose(["a"], 4) == [0]


def test_resamples_of_many_subjects_are_the_same_and_not_all_in_memory_at_once():
    """All draws at once would be 32 MB."""
    subjects, resamples = 20_000, 200
    by_subject = np.random.default_rng(0).integers(0, 3, (subjects, 2, 3))
    tracemalloc.start()
    found = resampled(by_subject, resamples, seed=5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    drawn = np.random.default_rng(5).multinomial(subjects, np.full(subjects, 1 / subjects), size=resamples)
    assert np.array_equal(found, np.tensordot(drawn, by_subject, axes=1))
    assert peak < 20 * 2**20
