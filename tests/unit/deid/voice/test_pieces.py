"""Long sounds: every sample once, no seam, and what is muted stays silent."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.deid.voice import disguise as voice
from deemo_dist.deid.voice import pieces as cutting
from tests.unit.deid.voice.test_disguise import vowel
from tests.voices import disguise

RATE = 16_000


@given(st.integers(1, 15_000), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_the_pieces_keep_every_sample_once_and_join_to_the_whole(count: int, seed: int) -> None:
    sound = np.random.default_rng(seed).normal(size=count).astype(np.float32)
    rate = 100  # so that a piece is some 3,000 samples
    reached, worked = 0, []
    for piece in cutting.pieces(sound, rate):
        assert piece.keep_from == reached
        assert 0 <= piece.start <= piece.keep_from < piece.keep_to <= piece.stop <= count
        assert piece.keep_to - piece.keep_from <= cutting.LONGEST * rate
        reached = piece.keep_to
        worked.append((piece, sound[piece.start : piece.stop].astype(np.float64)))
    assert reached == count
    assert np.allclose(np.concatenate(list(cutting.joined(worked, rate))), sound, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["world", "prosody"])
def test_a_long_sound_has_no_seam(method: voice.Method) -> None:
    sound = np.tile(vowel(3.0), 15)
    made = disguise(sound, RATE, method=method, seed=3)
    assert made is not None
    jumps = np.abs(np.diff(made.waveform))
    cuts = [piece.keep_from for piece in cutting.pieces(sound, RATE)][1:]
    assert cuts
    usual = np.percentile(jumps[np.abs(made.waveform[1:]) > 0], 99.9)
    assert max(jumps[cut - 400 : cut + 400].max() for cut in cuts) <= usual
    assert made.figures["loudness_correlation"] > 0.97


@pytest.mark.parametrize("method", ["world", "mcadams", "prosody"])
def test_what_is_muted_is_exact_silence(method: voice.Method) -> None:
    mutes = [(0.25, 0.5), (1.2, 9.0)]
    made = disguise(vowel(1.5), RATE, method=method, seed=3, mutes=mutes)
    assert made is not None
    for start, end in mutes:
        assert not made.waveform[round(start * RATE) : round(end * RATE)].any()
    assert np.abs(made.waveform[: round(0.2 * RATE)]).max() > 0.01
    assert np.abs(np.diff(made.waveform)).max() < 0.5
    assert made.figures["muted_seconds"] == pytest.approx(8.05)


def test_prosody_leaves_neither_spectrum_nor_level_of_pitch() -> None:
    low, high = (vowel(1.5), np.interp(np.arange(0, 24_000, 1.5), np.arange(24_000), vowel(1.5)).astype(np.float32))
    made = [disguise(sound, RATE, method="prosody", seed=seed) for seed, sound in enumerate((low, high))]
    assert made[0] is not None and made[1] is not None
    from deemo_dist.deid.voice import world

    pitches = [world.pitch(each.waveform.astype(float)) for each in made if each is not None]
    medians = [float(np.median(pitch[pitch > 0])) for pitch in pitches]
    assert medians[0] == pytest.approx(medians[1], rel=0.04) == pytest.approx(150, rel=0.04)
    assert made[0].figures["f0_correlation"] > 0.9
    spectra = [np.abs(np.fft.rfft(each.waveform[: 16_000 // 1], 512 * 32)) for each in made if each is not None]
    bands = [np.log(np.add.reduceat(spectrum, np.arange(0, len(spectrum) - 1, 256)) + 1e-6) for spectrum in spectra]
    assert np.corrcoef(bands[0], bands[1])[0, 1] > 0.95


def test_dropped_sound_is_no_sound() -> None:
    assert disguise(vowel(), RATE, method="drop", seed=1) is None
