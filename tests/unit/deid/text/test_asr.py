"""Hearing: words and times, no words where nobody speaks, the same words again."""

from itertools import pairwise

import numpy as np
import pytest

from deemo_dist.deid.text.asr import Heard, Listener, spans_of, windows_of
from deemo_dist.errors import DeidError
from deemo_dist.samples.people import draw_subjects
from tests.voices import RATE, speak

HOP = 512 / RATE


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()


def test_silence_noise_and_a_hum_have_no_speech(listener: Listener) -> None:
    time = np.arange(4 * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * hertz * time) for hertz in (262, 330, 392)) * 0.1
    for sound in (np.zeros(0), np.zeros(3 * RATE), 0.05 * np.random.default_rng(0).normal(size=3 * RATE), chord):
        assert listener(sound.astype(np.float32), RATE) == Heard((), ())


def test_sound_of_another_shape_is_refused(listener: Listener) -> None:
    for sound in (np.zeros((2, 100), dtype=np.float32), np.full(100, np.nan, dtype=np.float32)):
        with pytest.raises(DeidError, match="mono"):
            listener(sound, RATE)


def test_stretches_of_speech_begin_and_end_where_the_voice_does() -> None:
    probabilities = np.array([0.0] * 20 + [0.9] * 30 + [0.1] * 40 + [0.8] * 30 + [0.0] * 20)
    spans = spans_of(probabilities, pad=0.0)
    assert np.allclose(spans, [(20 * HOP, 50 * HOP), (90 * HOP, 120 * HOP)])
    assert len(spans_of(probabilities, pad=1.0)) == 1
    assert spans_of(np.zeros(0)) == []
    assert spans_of(np.array([0.0, 0.9, 0.0, 0.0])) == []


def test_windows_are_short_enough_and_cover_all_speech() -> None:
    windows = windows_of([(0.0, 2.0), (2.5, 10.0), (20.0, 100.0)])
    assert windows[0] == (0.0, 10.0)
    assert all(end - start <= 28.0 for start, end in windows)
    assert windows[1][0] == 20.0
    assert windows[-1][1] == 100.0
    assert all(a[1] == b[0] for a, b in pairwise(windows[1:]))


def test_a_long_stretch_is_cut_where_the_voice_rests() -> None:
    probabilities = np.full(round(40 / HOP), 0.9)
    probabilities[round(21.3 / HOP)] = 0.6
    (first, second) = windows_of([(0.0, 40.0)], probabilities)
    assert first[1] == second[0] == pytest.approx(21.3, abs=0.05)


@pytest.mark.slow
def test_words_are_heard_with_their_times(listener: Listener) -> None:
    sound = np.concatenate([np.zeros(RATE, np.float32), speak("It was a good match and I was happy with my serve.")])
    heard = listener(sound, RATE)
    assert heard.text.lower().replace(",", "").rstrip(".") == "it was a good match and i was happy with my serve"
    assert [word.start for word in heard.words] == sorted(word.start for word in heard.words)
    match = next(word for word in heard.words if "match" in word.text)
    assert 1.5 < match.start < match.end < 3.0
    assert heard.words[0].end > 1.0
    assert listener(sound, RATE) == heard
    (again,) = heard.again
    assert (again.first, again.last) == (0, len(heard.words))
    assert "good match" in again.text


@pytest.mark.slow
def test_other_rates_and_two_utterances_with_a_long_pause(listener: Listener) -> None:
    from scipy.signal import resample_poly

    parts = [speak("Thank you very much."), np.zeros(12 * RATE, np.float32), speak("See you tomorrow.")]
    sound = np.concatenate(parts)
    high = listener(resample_poly(sound, 3, 1).astype(np.float32), 3 * RATE)
    assert "thank you very much" in high.text.lower()
    assert "tomorrow" in high.text.lower()
    assert next(word.start for word in high.words if "tomorrow" in word.text.lower()) > 13.0
    first, last = high.again
    assert (first.first, first.last, last.last) == (0, last.first, len(high.words))
    assert "tomorrow" in last.text.lower()


@pytest.mark.slow
def test_a_voice_that_says_nothing_is_not_transcribed(listener: Listener) -> None:
    from deemo_dist.samples.voice import speak as sing

    (subject,) = draw_subjects(1, seed=0)
    heard = listener(sing(subject, "flat", 3.0, np.random.default_rng(1)), RATE)
    assert heard.words == ()
    assert heard.speech


@pytest.mark.slow
@pytest.mark.parametrize("gain", [0.002, 0.001, 0.0003])
def test_quiet_speech_is_heard_where_the_usual_is(listener: Listener, gain: float) -> None:
    """As it is released, in 16 bits: from it somebody can make it loud again."""
    loud = speak("My name is Anna Keller and I was happy.")
    quiet = (np.rint(loud * gain * 32768) / 32768).astype(np.float32)
    heard, usual = listener(quiet, RATE), listener(loud, RATE)
    for start, end in usual.speech:
        covered = sum(min(end, b) - max(start, a) for a, b in heard.speech if a < end and b > start)
        assert covered >= 0.85 * (end - start)


def test_amplified_noise_is_no_speech(listener: Listener) -> None:
    rng = np.random.default_rng(5)
    for level in (1e-3, 1e-4, 2e-5):
        hiss = (np.rint(level * rng.standard_normal(6 * RATE) * 32768) / 32768).astype(np.float32)
        assert listener(hiss, RATE).speech == ()
