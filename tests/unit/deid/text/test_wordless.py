"""What stands still says no words; what moves may."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.deid.text.asr import Listener
from deemo_dist.deid.text.wordless import stands_still, without
from deemo_dist.samples.people import draw_subjects
from deemo_dist.samples.voice import speak as sing
from tests.voices import speak

SAID = (
    ("en-us", "My name is Anna Keller."), ("en-us", "Anna!"), ("en-us", "Li Na won."), ("de", "Ich bin die Anna."),
    ("es", "Ayer perdí contra Novak."), ("cmn", "我叫李娜。"), ("fi", "Nimeni on Anna Niemi."),
)  # fmt: skip


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()


def features(listener: Listener, sound: np.ndarray) -> np.ndarray:
    return listener._ear.features(sound)


@pytest.mark.slow
def test_sung_vowels_stand_still_and_speech_of_any_language_does_not(listener: Listener) -> None:
    for subject in draw_subjects(8, seed=5):
        for prosody in ("rising", "falling", "flat"):
            assert stands_still(features(listener, sing(subject, prosody, 3.0, np.random.default_rng(subject.index))))
    for language, text in SAID:
        assert not stands_still(features(listener, speak(text, language=language)))


@pytest.mark.slow
def test_a_name_within_a_long_hum_is_noticed_even_if_it_is_quiet(listener: Listener) -> None:
    (subject,) = draw_subjects(1, seed=5)
    hums = [sing(subject, "flat", 3.0, np.random.default_rng(seed)) for seed in range(2)]
    for level in (1.0, 0.1):
        mixed = np.concatenate([hums[0], level * speak("Anna Keller"), hums[1]])
        assert not stands_still(features(listener, mixed))


def test_silence_and_next_to_nothing_are_no_hum() -> None:
    assert not stands_still(np.full((80, 4), 0.1, np.float32))


spans = st.lists(
    st.tuples(st.floats(0, 9), st.floats(0.1, 3)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=6
)


@given(spans, spans)
def test_what_is_taken_out_is_out_and_the_rest_stays(
    whole: list[tuple[float, float]], taken: list[tuple[float, float]]
) -> None:
    left = without(whole, taken)
    for time in np.linspace(0, 12, 121):
        inside = any(a < time < b for a, b in whole)
        out = any(a <= time <= b for a, b in taken)
        assert any(a < time < b for a, b in left) == (inside and not out)
    assert without([(0.0, 2.0)], [(0.5, 1.9)], least=0.3) == [(0.0, 0.5)]
