"""What is quiet becomes louder, and what is not stays as it is."""

import numpy as np
import pytest

from deemo_dist.deid.text.gain import BLOCK, ENOUGH, MOST, Lifted

RNG = np.random.default_rng(3)


def noise(level: float, seconds: float) -> np.ndarray:
    return (level * RNG.standard_normal(round(seconds * BLOCK))).astype(np.float32)


def test_a_sound_of_usual_level_stays_bit_for_bit() -> None:
    sound = noise(0.02, 5.3)
    assert np.array_equal(Lifted(sound)[:], sound)
    silence = np.zeros(3 * BLOCK, np.float32)
    assert np.array_equal(Lifted(silence)[:], silence)
    assert len(Lifted(sound)) == len(sound) and len(Lifted(sound)[9:9]) == 0


def test_a_quiet_sound_is_lifted_within_a_bound() -> None:
    for level, gain in ((1e-4, ENOUGH / 1e-4), (1e-7, MOST)):
        sound = noise(level, 4)
        made = Lifted(sound)[:]
        assert np.std(made) / np.std(sound) == pytest.approx(gain, rel=0.1)
        assert made.dtype == np.float32 and np.abs(made).max() <= 1


def test_loud_parts_stay_beside_quiet_ones_and_a_click_makes_none_loud() -> None:
    sound = np.concatenate([noise(1e-4, 4), noise(0.1, 1), noise(1e-4, 4)])
    made = Lifted(sound)[:]
    loud = slice(4 * BLOCK - BLOCK // 2, 5 * BLOCK + BLOCK // 2)
    assert np.array_equal(made[loud], sound[loud])
    assert np.std(made[:BLOCK]) > 0.8 * ENOUGH
    sound = noise(1e-4, 4)
    sound[2 * BLOCK : 2 * BLOCK + 100] = 0.9
    assert np.std(Lifted(sound)[3 * BLOCK :]) > 0.8 * ENOUGH


def test_parts_are_those_of_the_whole() -> None:
    sound = np.concatenate([noise(1e-4, 3.2), noise(0.1, 2), noise(3e-4, 4)])
    whole, parts = Lifted(sound)[:], Lifted(sound)
    cut = np.concatenate([parts[start : start + 7001] for start in range(0, len(sound), 7001)])
    assert np.array_equal(whole, cut)
