from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.samples import bayes_rates, plan_clips
from deemo_dist.samples.design import KINDS, SHARES
from deemo_dist.samples.words import GESTURES, PROSODY

DEMO = plan_clips(75, 8, 7)


def accuracy(plans, evidence) -> float:
    """Of the best answer from ``evidence``: the majority emotion of each value, fitted on the clips themselves."""
    seen = defaultdict(Counter)
    for plan in plans:
        seen[evidence(plan)][plan.emotion] += 1
    return sum(max(counts.values()) for counts in seen.values()) / len(plans)


def test_the_shares_add_up_to_what_was_asked_for():
    shares = dict(zip(KINDS, SHARES, strict=True))
    assert sum(SHARES) == pytest.approx(1)
    assert shares["gesture"] + shares["both"] == pytest.approx(0.54)
    assert shares["prosody"] + shares["both"] == pytest.approx(0.54)
    assert shares["neither"] == pytest.approx(0.04)
    assert bayes_rates() == {"gesture": 0.77, "prosody": 0.77, "both": 0.98, "transcript": 0.5, "chance": 0.5}


def test_bayes_rates_by_enumeration():
    """Maximum a posteriori over the whole joint distribution, cue groups as seen."""
    joint = defaultdict(lambda: defaultdict(float))
    for kind, share in zip(KINDS, SHARES, strict=True):
        for emotion in ("positive", "negative"):
            hand = emotion if kind in ("gesture", "both") else "neutral"
            voice = emotion if kind in ("prosody", "both") else "neutral"
            for name, evidence in (("gesture", hand), ("prosody", voice), ("both", (hand, voice))):
                joint[name, evidence][emotion] += share / 2
    for name in ("gesture", "prosody", "both"):
        best = sum(max(row.values()) for (which, _), row in joint.items() if which == name)
        assert best == pytest.approx(bayes_rates()[name])


def test_the_demo_has_its_size_and_splits_by_subject():
    splits = {plan.subject.index: plan.split for plan in DEMO}
    assert len(DEMO) == 600
    assert Counter(splits.values()) == {"train": 45, "validation": 5, "test": 25}
    assert all(splits[plan.subject.index] == plan.split for plan in DEMO)
    assert len({plan.subject.name for plan in DEMO}) == 75
    assert len({plan.file_name for plan in DEMO}) == 600


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_realised_clips_have_the_bayes_rates(split):
    plans = [plan for plan in DEMO if plan.split == split]
    group = {name: group for group, names in GESTURES.items() for name in names}
    assert accuracy(plans, lambda plan: group[plan.gesture]) == pytest.approx(0.77, abs=0.01)
    assert accuracy(plans, lambda plan: plan.prosody) == pytest.approx(0.77, abs=0.01)
    assert accuracy(plans, lambda plan: (group[plan.gesture], plan.prosody)) == pytest.approx(0.98, abs=0.01)


def test_cues_are_erased_never_flipped():
    for plan in DEMO:
        assert plan.gesture in (*GESTURES[plan.emotion], *GESTURES["neutral"])
        assert plan.prosody in (PROSODY[plan.emotion], PROSODY["neutral"])
        assert (plan.gesture in GESTURES[plan.emotion]) == (plan.informs in ("gesture", "both"))
        assert (plan.prosody == PROSODY[plan.emotion]) == (plan.informs in ("prosody", "both"))


def test_what_is_said_and_who_speaks_tell_nothing():
    for plans in ([plan for plan in DEMO if plan.subject.index == one] for one in range(75)):
        assert Counter(plan.emotion for plan in plans) == {"positive": 4, "negative": 4}
    words = [plan for plan in DEMO if plan.emotion == "positive"], [plan for plan in DEMO if plan.emotion == "negative"]
    first, second = (Counter(word for plan in side for word in plan.transcript.split()[-1:]) for side in words)
    assert all(abs(first[word] - second[word]) < 5 * np.sqrt(first[word] + second[word] + 1) for word in first | second)


def test_every_transcript_and_file_name_holds_a_name():
    for plan in DEMO:
        assert plan.planted
        assert all(word in plan.transcript for word in plan.planted)
        assert plan.subject.name.split()[0].lower() in plan.file_name


def test_subjects_differ_and_have_subgroups():
    people = list({plan.subject.index: plan.subject for plan in DEMO}.values())
    for attribute in ("shoulders", "upper_arm", "tempo", "pitch", "formants", "shirt", "skin", "background"):
        assert len({getattr(person, attribute) for person in people}) == len(people)
    assert all(person.shoulders / 256 >= 0.32 for person in people)
    assert {tuple(sorted(person.subgroup.items())) for person in people} == {
        (("build", build), ("register", register)) for build in ("broad", "slight") for register in ("high", "low")
    }


@settings(max_examples=25, deadline=None)
@given(subjects=st.integers(1, 12), clips=st.integers(1, 9), seed=st.integers(0, 2**31))
def test_any_size_is_planned_deterministically(subjects, clips, seed):
    plans = plan_clips(subjects, clips, seed)
    assert plans == plan_clips(subjects, clips, seed)
    assert len({plan.file_name for plan in plans}) == subjects * clips
    assert any(plan.split == "train" for plan in plans)
