"""Which clips are looked at, and voices attacked by the method that their attestation names."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.deid.audit.figures import Words
from deemo_dist.deid.text.transcript import Scrubber
from pipelines import attack, audit
from tests.unit.deid.audit.test_figures import figures, outcomes
from tests.unit.deid.conftest import make_clip


def rows(clips: list[int], voice: str = "world") -> list[Any]:
    """Index rows of so many clips a person."""
    return [
        SimpleNamespace(
            key=f"{clip:02}{person:03}", subject_key=f"{person:03}", attestation=SimpleNamespace(voice=voice)
        )
        for person, count in enumerate(clips)
        for clip in range(count)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 8), max_size=40), st.integers(0, 400))
def test_no_more_than_the_limit_and_two_of_everybody_before_a_third_of_anybody(clips: list[int], limit: int) -> None:
    taken = attack.chosen(rows(clips), limit)
    assert len(taken) == len({row.key for row in taken}) == min(limit, sum(clips))
    counts = Counter(row.subject_key for row in taken)
    if sum(count >= 5 for count in clips) < 20 or limit < 200:
        wanting = [n for n, count in enumerate(clips) if counts[f"{n:03}"] < min(2, count)]
        assert not wanting or max(counts.values(), default=0) <= 2


def test_speakers_enough_for_an_attack_on_voices_come_with_clips_enough() -> None:
    counts = Counter(row.subject_key for row in attack.chosen(rows([8] * 75), 240))
    assert sum(count >= 5 for count in counts.values()) == 20
    assert (len(counts), min(counts.values())) == (75, 2)
    assert max(Counter(row.subject_key for row in attack.chosen(rows([8] * 75), 199)).values()) <= 4


SAID = {
    "Anna Keller": "So Keller's forehand won it, Anna said.",
    "Jürgen Müller": "And here comes Muller, i think.",
    "LiNa": "Then Li Na walked on court.",
    "Will King": "I am Will, and I will win, she is the king of clay.",
    "player 12": "Every player wants this, be patient, says my coach Peter Novak, peter.novak@tennis.example.",
}
Scrub = Callable[[str, str], str]


def recall(scrub: Scrub, names: Sequence[str] = ()) -> Words:
    """The words' figures of a data set whose clips say ``SAID``, released as ``scrub(name, text)``."""
    raw = {f"{place}": make_clip(subject=name, transcript=said) for place, (name, said) in enumerate(SAID.items())}
    released = SimpleNamespace(
        rows=[SimpleNamespace(key=key) for key in raw],
        annotations={
            key: SimpleNamespace(transcript=scrub(clip.subject, str(clip.transcript)), texts={})
            for key, clip in raw.items()
        },
    )
    return audit.words_of(list(attack.names_by_clip(released, raw, names)))  # type: ignore[arg-type]


def outcome(words: Words) -> str:
    return outcomes(figures(None, words=words))[-1]


@pytest.mark.slow
def test_the_gate_of_names_passes_what_was_scrubbed_and_fails_what_was_not() -> None:
    scrubber = Scrubber()
    done = recall(lambda name, said: str(scrubber(said, {}, known=[name]).transcript))
    assert (done.there, done.recall.value) == (6, 1.0)
    assert done.found >= 6
    assert done.found_recall is not None
    assert done.found_recall.value == 1.0
    assert outcome(done) == "passed"
    off = recall(lambda name, said: said)
    assert off.found_recall is not None
    assert (off.recall.value, off.found_recall.value) == (0.0, 0.0)
    assert outcome(off) == "failed"


PARTLY: dict[str, Scrub] = {
    "a part of a name": lambda name, said: said.replace("Keller", "[PERSON_1]"),
    "an address": lambda name, said: "peter.novak@tennis.example" if "Novak" in said else "",
}


@pytest.mark.parametrize("what", PARTLY)
def test_what_is_partly_scrubbed_does_not_pass(what: str) -> None:
    assert outcome(recall(PARTLY[what])) == "failed"


def test_a_scrubber_that_knows_nobody_but_the_persons_themselves_does_not_pass() -> None:
    own = {"Keller", "Anna", "Muller", "Li", "Na", "Will"}
    words = recall(
        lambda _, said: " ".join("[PERSON_1]" if own & {*re.findall(r"\w+", w)} else w for w in said.split())
    )
    assert words.recall.value == 1.0
    assert words.found_recall is not None
    assert words.found_recall.value < 0.8
    assert outcome(words) == "failed"


def test_listed_names_are_known_in_the_same_way() -> None:
    listed = recall(lambda name, said: said, ["Ann Forehand", "", "Grace Walked"])
    assert listed.there == 7
    assert listed.recall.value == 0.0
