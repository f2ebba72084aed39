import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.deid.audit.utility import RATE, keypoint_agreement, lag, sound_figures, word_errors

WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=8)


@given(WORDS, WORDS)
def test_word_errors_are_an_edit_distance(first: list[str], second: list[str]) -> None:
    errors = word_errors(first, second)
    assert errors == word_errors(second, first)
    assert abs(len(first) - len(second)) <= errors <= max(len(first), len(second))
    assert (errors == 0) == (first == second)


def test_word_errors_of_a_known_case() -> None:
    assert word_errors(["the", "cat", "sat", "on", "the", "mat"], ["the", "cat", "sat", "mat", "now"]) == 3


def vowel(seconds: float = 2.0) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(140 + 30 * np.sin(2 * np.pi * 0.7 * time)) / RATE
    return 0.4 * (1 + 0.9 * np.sin(2 * np.pi * 1.3 * time)) * sum(np.sin(k * phase) / k for k in range(1, 8))


@pytest.mark.parametrize("late", [0, 320, 1600])
def test_a_delay_is_found(late: int) -> None:
    raw = vowel()
    found = sound_figures(raw, np.concatenate([np.zeros(late), raw])[: len(raw)] * 0.5)
    assert found["sync_ms"] == pytest.approx(1000 * late / RATE, abs=4)


def test_the_same_sound_keeps_everything() -> None:
    found = sound_figures(vowel(), vowel())
    assert found["f0_correlation"] == pytest.approx(1.0)
    assert found["loudness_correlation"] == pytest.approx(1.0)


def test_silence_and_scraps_have_no_figures() -> None:
    assert sound_figures(np.zeros(RATE), np.zeros(RATE)) == {}
    assert sound_figures(vowel()[:100], vowel()[:100]) == {}
    assert lag(np.ones(50), np.arange(50.0)) is None


def test_keypoints_are_compared_where_they_were_sure() -> None:
    stored = np.zeros((4, 22, 3))
    stored[..., 2] = 0.9
    again = stored.copy()
    again[:2, :, 0] += 0.2
    again[2:, :, 0] += 0.5
    assert keypoint_agreement(stored, again) == 0.5
    assert keypoint_agreement(np.zeros((4, 22, 3)), again) is None
