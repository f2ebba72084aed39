"""Whisper: what it writes, which language it takes a stretch for, and how often it reads one."""

import numpy as np
import pytest
import soundfile

from deemo_dist.deid.text.asr import ENGLISH, NO_WORDS, Listener
from deemo_dist.deid.text.whisper import AROUND, WHOLE, Whisper
from deemo_dist.media import resample
from deemo_dist.samples.people import draw_subjects
from deemo_dist.samples.voice import speak as sing
from deemo_dist.weights import fetch
from tests.voices import RATE, speak

FOREIGN = ("speech-es-counting", "speech-fr-pangram", "speech-it-pangram", "speech-pt-pangram")


@pytest.fixture(scope="module")
def whisper() -> Whisper:
    return Whisper()


def sample(name: str) -> np.ndarray:
    sound, rate = soundfile.read(fetch(name), dtype="float32")
    return resample(sound, rate, RATE)


@pytest.mark.slow
def test_english_is_told_from_other_languages(whisper: Whisper) -> None:
    for text in ("It was a good match.", "Exactly.", "My name is Anna Keller.", "We lost."):
        assert whisper.english(whisper.features(speak(text))) > ENGLISH, text
    for name in FOREIGN:
        assert whisper.english(whisper.features(sample(name))) < 0.05, name
    assert whisper.english(whisper.features(sample("speech-en-counting"))) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("name", FOREIGN)
def test_another_language_is_garbled_and_not_translated(name: str) -> None:
    """Asked for English, Whisper writes one, two, three of a voice that says uno, dos, tres, and is sure of it."""
    heard = Listener()(sample(name), RATE)
    assert heard.words == () and heard.again == ()
    for start, end in heard.speech:
        assert sum(min(end, b) - max(start, a) for a, b in heard.garbled if a < end and b > start) > 0.9 * (end - start)


@pytest.mark.parametrize(
    ("shares", "active", "asked", "english"),
    [
        ({AROUND: 0.9}, 0.8, [AROUND], True),
        ({AROUND: 0.1, WHOLE: 0.9}, 3.0, [AROUND], False),
        ({AROUND: 0.1, WHOLE: 0.9}, 0.8, [AROUND, WHOLE], True),
        ({AROUND: 0.1, WHOLE: 0.2}, 0.8, [AROUND, WHOLE], False),
    ],
)
def test_a_short_stretch_that_seems_foreign_is_judged_in_the_length_that_was_learned(
    shares: dict[int, float], active: float, asked: list[int], english: bool
) -> None:
    listener, looks = Listener(), list[int]()

    class Told:
        def english(self, features: np.ndarray, *, spare: int = AROUND) -> float:
            looks.append(spare)
            return shares[spare]

    listener._whisper = Told()  # type: ignore[assignment]
    assert listener._is_english(np.zeros((80, 10), np.float32), active) is english
    assert looks == asked


@pytest.mark.slow
def test_all_questions_about_a_stretch_read_it_once(whisper: Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, lengths = whisper._encode, []
    monkeypatch.setattr(whisper, "_encode", lambda features: lengths.append(features.shape[1]) or encode(features))
    sound = speak("The crowd kept us going until midnight.")
    features = whisper.features(sound)
    assert whisper.english(features) > 0.8
    words = " ".join(word.word.strip() for segment in whisper.write(sound) for word in segment.words)
    assert words.lower().startswith("the crowd kept us going")
    assert lengths == [features.shape[1] + AROUND]
    assert whisper.english(whisper.features(speak("It was a good match."))) > ENGLISH
    assert len(lengths) == 2


@pytest.mark.slow
def test_a_hum_has_no_words(whisper: Whisper) -> None:
    (subject,) = draw_subjects(1, seed=0)
    assert whisper.no_words(whisper.features(sing(subject, "flat", 3.0, np.random.default_rng(1)))) > NO_WORDS
    assert whisper.no_words(whisper.features(speak("My name is Anna Keller."))) < NO_WORDS / 2
