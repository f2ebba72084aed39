import numpy as np
import pytest

from deemo_dist.samples.people import draw_subjects
from deemo_dist.samples.voice import RATE, speak

SUBJECTS = draw_subjects(4, 3)


def pitch_track(sound: np.ndarray) -> np.ndarray:
    """Pitch in Hz every 5 ms by pyworld's DIO, 0 where unvoiced."""
    import pyworld

    track, times = pyworld.dio(sound.astype(np.float64), RATE, f0_floor=60, f0_ceil=400)
    return pyworld.stonemask(sound.astype(np.float64), track, times, RATE)


def slopes(track: np.ndarray) -> list[float]:
    """Semitones over each of the two phrases, by a straight line through the voiced frames."""
    found = []
    for start, end in ((0.06, 0.45), (0.55, 0.94)):
        part = track[int(start * len(track)) : int(end * len(track))]
        at = np.flatnonzero(part > 0)
        line = np.polyfit(at / len(part), 12 * np.log2(part[at]), 1)
        found.append(float(line[0]))
    return found


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.register + str(subject.index))
@pytest.mark.parametrize(("prosody", "sign"), [("rising", 1), ("falling", -1), ("flat", 0)])
def test_the_contour_carries_the_prosody(subject, prosody, sign):
    track = pitch_track(speak(subject, prosody, 3.0, np.random.default_rng(5)))
    for slope in slopes(track):
        assert slope == pytest.approx(4.6 * sign, abs=1.2)
    voiced = track[track > 0]
    assert 12 * abs(np.log2(np.exp(np.mean(np.log(voiced))) / subject.pitch)) < 1.2


def test_a_voice_is_deterministic_bounded_and_of_its_length():
    one, two = (speak(SUBJECTS[0], "rising", 3.0, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(one, two)
    assert one.dtype == np.float32
    assert len(one) == 3 * RATE
    assert np.abs(one).max() < 1
    assert 0.05 < np.sqrt(np.mean(one**2)) < 0.15


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: str(subject.index))
def test_rising_is_fast_and_falling_slow(subject):
    def strength(prosody: str, pace: float) -> float:
        """How strongly loudness beats at ``pace`` syllables a second, by the larger of the two phrases."""
        sound = np.abs(speak(subject, prosody, 3.0, np.random.default_rng(2)))
        time = np.arange(len(sound)) / RATE
        beat = np.exp(-2j * np.pi * pace * subject.tempo**0.5 * time)
        cut = len(sound) // 2
        return max(abs(np.sum((sound * beat)[:cut])), abs(np.sum((sound * beat)[cut:])))

    assert strength("rising", 4.5) > 1.5 * strength("rising", 2.2)
    assert strength("falling", 2.2) > 1.5 * strength("falling", 4.5)
