"""The ear of the audit: one voice under other loudness and silence is one voice; what is no voice gives nothing."""

import numpy as np
import pytest

from deemo_dist.deid.audit.voices import RATE, VoiceReader, speech
from deemo_dist.samples.people import draw_subjects
from deemo_dist.samples.voice import speak


@pytest.fixture(scope="module")
def reader() -> VoiceReader:
    return VoiceReader()


def sound(subject: int, seed: int = 0, seconds: float = 3.0) -> np.ndarray:
    return speak(draw_subjects(8, seed=0)[subject], "rising", seconds, np.random.default_rng(seed))


@pytest.mark.slow
def test_one_voice_is_nearer_to_itself_than_to_another(reader: VoiceReader) -> None:
    found = [reader([sound(who, seed)])[0] for who in range(4) for seed in (1, 2)]
    scores = np.array([[first @ second for second in found] for first in found])  # type: ignore[operator]
    same = np.kron(np.eye(4), np.ones((2, 2))).astype(bool)
    np.fill_diagonal(scores, np.nan)
    assert np.allclose([np.linalg.norm(each) for each in found], 1.0)  # type: ignore[arg-type]
    assert np.nanmin(scores[same]) > 0.9
    assert np.nanmean(scores[same]) > np.nanmean(scores[~same]) + 0.02


@pytest.mark.slow
def test_a_batch_is_as_one_by_one_and_silence_and_loudness_are_nothing(reader: VoiceReader) -> None:
    first, second = sound(0), sound(1, seconds=2.2)
    padded = np.concatenate([np.zeros(RATE), first, np.zeros(2 * RATE)])
    found = reader([first, second, np.zeros(RATE), 0.02 * first, padded, first[:100]])
    assert found[2] is found[5] is None
    for sound_, template in zip((first, second), found, strict=False):
        assert np.allclose(reader([sound_])[0], template, atol=1e-5)  # type: ignore[arg-type]
    assert found[0] @ found[4] > 0.98  # type: ignore[operator]
    assert found[0] @ found[3] > 0.9  # type: ignore[operator]
    assert reader([]) == []


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 5000])
def test_speech_of_any_length_is_cut_out(samples: int) -> None:
    assert len(speech(np.ones(samples))) <= samples
    assert len(speech(np.zeros(samples))) == 0
    long = np.concatenate([np.zeros(RATE), 0.1 * np.ones(RATE), np.zeros(RATE)])
    assert RATE < len(speech(long)) < 1.5 * RATE
