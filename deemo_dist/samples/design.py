"""The design of the generated clips: who, which cues, which labels; and what the best possible answer scores.

Cues are erased, not flipped: a cue that is there is always right, otherwise it is neutral. With a = P(only the gesture
informs), b = P(only the prosody), c = P(both), n = P(neither), asked for are

    a + c = .54 (gesture),   b + c = .54 (prosody),   n = .04,   a + b + c + n = 1
    =>  c = .54 + .54 - (1 - .04) = .12,   a = b = .54 - .12 = .42.

With balanced emotions an informed answer is right and any other right half of the time, so the Bayes accuracies are
.54 + .46 / 2 = .77 for either cue alone, .96 + .04 / 2 = .98 for both, and .50 for the transcript, which is drawn
without regard to the emotion, as are the face, the kind of gesture within its group, and all that differs by subject.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deemo_dist.samples.people import Subject, draw_subjects
from deemo_dist.samples.words import FAMILY, GESTURES, GIVEN, PLACES, PROSODY, SENTENCES

INFORMS_GESTURE = 0.54
INFORMS_PROSODY = 0.54
INFORMS_NEITHER = 0.04
INFORMS_BOTH = INFORMS_GESTURE + INFORMS_PROSODY - (1 - INFORMS_NEITHER)
KINDS = ("gesture", "prosody", "both", "neither")
SHARES = (INFORMS_GESTURE - INFORMS_BOTH, INFORMS_PROSODY - INFORMS_BOTH, INFORMS_BOTH, INFORMS_NEITHER)
TEST_SHARE = 1 / 3
VALIDATION_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class ClipPlan:
    """One clip to be made. ``informs``: gesture, prosody, both or neither; ``seed``: of all its randomness."""

    subject: Subject
    number: int
    split: str
    emotion: str
    informs: str
    gesture: str
    prosody: str
    transcript: str
    planted: tuple[str, ...]
    seed: tuple[int, ...]

    @property
    def file_name(self) -> str:
        """The clip's file name, which holds the person's name (on purpose: de-identification must drop it)."""
        return f"{self.subject.name.lower().replace(' ', '_')}_{self.number:02d}.mp4"


def bayes_rates() -> dict[str, float]:
    """The best possible accuracy from each source of evidence, by the derivation above."""
    both = 1 - INFORMS_NEITHER
    return {
        "gesture": round(INFORMS_GESTURE + (1 - INFORMS_GESTURE) / 2, 4),
        "prosody": round(INFORMS_PROSODY + (1 - INFORMS_PROSODY) / 2, 4),
        "both": round(both + (1 - both) / 2, 4),
        "transcript": 0.5,
        "chance": 0.5,
    }


def plan_clips(subjects: int, clips_per_subject: int, seed: int) -> list[ClipPlan]:
    """Plan ``subjects * clips_per_subject`` clips: a function of its arguments. Splits are by subject.

    Emotions are balanced within each subject, and the kinds of evidence have their exact shares (to rounding) within
    each split and emotion, so that a small test set has the Bayes accuracies of the design.
    """
    people = draw_subjects(subjects, seed)
    splits = _splits(subjects, seed)
    plans: list[ClipPlan] = []
    for split in ("train", "validation", "test"):
        members = [person for person, where in zip(people, splits, strict=True) if where == split]
        plans += _plan_split(members, split, clips_per_subject, seed)
    return sorted(plans, key=lambda plan: (plan.subject.index, plan.number))


def _splits(subjects: int, seed: int) -> list[str]:
    """A split for each subject: a third for the test, a tenth of the rest for validation."""
    order = np.random.default_rng([seed, 1]).permutation(subjects)
    test = round(subjects * TEST_SHARE)
    validation = round((subjects - test) * VALIDATION_SHARE) if subjects < 5 else max(1, round((subjects - test) * 0.1))
    splits = ["train"] * subjects
    for place, subject in enumerate(order):
        if place < test:
            splits[subject] = "test"
        elif place < test + validation:
            splits[subject] = "validation"
    return splits


def _plan_split(members: Sequence[Subject], split: str, count: int, seed: int) -> list[ClipPlan]:
    rng = np.random.default_rng([seed, 2, ("train", "validation", "test").index(split)])
    emotions = {person.index: _emotions(number, count, rng) for number, person in enumerate(members)}
    flat = [emotion for person in members for emotion in emotions[person.index]]
    kinds = {emotion: _kinds(flat.count(emotion), rng) for emotion in ("positive", "negative")}
    return [
        _plan_clip(person, number, split, emotion, kinds[emotion].pop(), (seed, 3, person.index, number))
        for person in members
        for number, emotion in enumerate(emotions[person.index])
    ]


def _emotions(number: int, count: int, rng: np.random.Generator) -> list[str]:
    """Balanced emotions in random order; of an odd count, subjects take turns with the odd one."""
    positive = (count + number % 2) // 2
    return [str(emotion) for emotion in rng.permutation(["positive"] * positive + ["negative"] * (count - positive))]


def _kinds(count: int, rng: np.random.Generator) -> list[str]:
    """``count`` kinds of evidence in the designed shares (largest remainders), in random order."""
    exact = np.array(SHARES) * count
    counts = np.floor(exact).astype(int)
    for kind in np.argsort(counts - exact, kind="stable")[: count - counts.sum()]:
        counts[kind] += 1
    return [str(kind) for kind in rng.permutation(np.repeat(KINDS, counts))]


def _plan_clip(person: Subject, number: int, split: str, emotion: str, informs: str, seed: tuple[int, ...]) -> ClipPlan:
    rng = np.random.default_rng(seed)
    shown = emotion if informs in ("gesture", "both") else "neutral"
    heard = emotion if informs in ("prosody", "both") else "neutral"
    other = f"{GIVEN[rng.integers(len(GIVEN))]} {FAMILY[rng.integers(len(FAMILY))]}"
    place = PLACES[rng.integers(len(PLACES))]
    sentence = SENTENCES[rng.integers(len(SENTENCES))]
    transcript = sentence.format(person=person.name, other=other, place=place)
    return ClipPlan(
        subject=person,
        number=number,
        split=split,
        emotion=emotion,
        informs=informs,
        gesture=GESTURES[shown][rng.integers(2)],
        prosody=PROSODY[heard],
        transcript=transcript,
        planted=tuple(word for word in (person.name, other, place) if word in transcript),
        seed=(*seed, 1),
    )
