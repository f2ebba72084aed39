"""The voice: what is kept, what is moved, and sounds that are no speech."""

import numpy as np
import pytest
from scipy.signal import lfilter

from deemo_dist.deid.voice import disguise as voice
from deemo_dist.deid.voice import mcadams, world
from deemo_dist.errors import DeidError
from deemo_dist.media import resample
from tests.voices import disguise

METHODS = ["world", "mcadams", "sum"]
ALL = [*METHODS, "prosody"]
FORMANTS = ((700, 80), (1200, 90), (2600, 120))


def vowel(seconds: float = 1.5, rate: int = 16_000, loud: float = 0.4) -> np.ndarray:
    """A vowel with a moving pitch and a moving loudness."""
    time = np.arange(int(seconds * rate)) / rate
    phase = np.cumsum(130 * 2 ** (4 / 12 * np.sin(2 * np.pi * 0.8 * time))) / rate
    sound = (np.diff(phase % 1, prepend=0) < -0.5).astype(float)
    for centre, width in FORMANTS:
        radius = np.exp(-np.pi * width / rate)
        sound = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * centre / rate), radius**2], sound)
    sound *= 0.2 + 0.8 * np.sin(2 * np.pi * 1.5 * time) ** 2
    return (sound / np.abs(sound).max() * loud).astype(np.float32)


def first_formant(sound: np.ndarray) -> float:
    """Frequency of the strongest pole below 1 kHz, the median over the loud frames."""
    frames = mcadams._frames(sound.astype(float))
    frames = frames[np.argsort((frames**2).sum(1))[len(frames) // 2 :]]
    spectrum = np.abs(np.fft.rfft(frames, 2048)) ** 2
    low = spectrum[:, 30:140]
    return float((low * np.arange(30, 140)).sum() / low.sum() * 16_000 / 2048)


@pytest.mark.parametrize("method", METHODS)
def test_pitch_loudness_and_length_are_kept_and_bytes_repeat(method: str) -> None:
    sound = vowel()
    made = disguise(sound, 16_000, method=method, seed=7)  # type: ignore[arg-type]
    assert made is not None
    assert made.waveform.dtype == np.float32
    assert abs(len(made.waveform) - len(sound)) <= 1
    assert made.figures["f0_correlation"] > 0.97
    assert made.figures["loudness_correlation"] > 0.97
    assert made.figures["f0_error_semitones"] < 0.1
    again = disguise(sound, 16_000, method=method, seed=7)  # type: ignore[arg-type]
    assert again is not None
    assert np.array_equal(made.waveform, again.waveform)
    assert not np.allclose(made.waveform, sound, atol=0.05)


@pytest.mark.parametrize("method", ALL)
def test_an_attacker_who_knows_the_draw_makes_the_same_sound(method: str) -> None:
    sound = vowel(0.7)
    made = disguise(sound, 16_000, method=method, seed=3)  # type: ignore[arg-type]
    shift = voice.drawn(np.random.default_rng(3))
    again = voice.disguised_as(sound, method, [voice.grid(method)[0], shift])[1]  # type: ignore[arg-type]
    assert made is not None
    assert np.abs(made.waveform - again).max() < 1e-6


@pytest.mark.parametrize(("method", "tries"), [("world", 8), ("mcadams", 9), ("sum", 16), ("prosody", 1)])
def test_the_grid_covers_what_is_drawn_from(method: str, tries: int) -> None:
    found = voice.grid(method)  # type: ignore[arg-type]
    assert len(set(found)) == tries
    for seed in range(40):
        shift = voice.drawn(np.random.default_rng(seed))
        if method in ("world", "sum"):
            assert min(abs(np.log(each.warp / shift.warp)) for each in found) < 0.025
        if method in ("mcadams", "sum"):
            assert min(abs(each.share - shift.share) for each in found) <= 0.125


def test_formants_move_by_a_keyed_amount() -> None:
    sound = vowel()
    places = []
    for seed in range(6):
        made = disguise(sound, 16_000, method="world", seed=seed)
        assert made is not None
        places.append(first_formant(made.waveform))
    assert len({round(place) for place in places}) == 6
    assert max(places) > 1.1 * min(places)


def test_the_warp_goes_the_way_it_says() -> None:
    sound = vowel().astype(float)
    assert first_formant(world.shift_formants(sound, 1.2)) > 1.05 * first_formant(sound)
    assert first_formant(world.shift_formants(sound, 1 / 1.2)) < 0.96 * first_formant(sound)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000])
def test_other_rates_come_out_at_16_khz_as_long(rate: int) -> None:
    made = disguise(vowel(rate=rate, seconds=0.7), rate, method="mcadams", seed=1)
    assert made is not None
    assert abs(len(made.waveform) - round(int(0.7 * rate) * 16_000 / rate)) <= 1


@pytest.mark.parametrize("method", ["world", "mcadams", "sum", "prosody"])
@pytest.mark.parametrize("rate", [8_000, 96_000])
def test_a_telephone_and_a_studio_are_disguised_alike(method: voice.Method, rate: int) -> None:
    raw = vowel(rate=rate, seconds=0.7)
    made = disguise(raw, rate, method=method, seed=1)
    usual = disguise(vowel(seconds=0.7), 16_000, method=method, seed=1)
    assert made is not None
    assert usual is not None
    assert np.isfinite(made.waveform).all()
    assert np.abs(made.waveform).max() <= 1.0
    apart = np.abs(made.waveform - resample(raw, rate, 16_000)[: len(made.waveform)]).max()
    assert apart > 0.2 * np.abs(raw).max()
    assert 0.5 < np.std(made.waveform) / np.std(usual.waveform) < 2.0


def test_mcadams_with_coefficient_one_gives_the_sound_back() -> None:
    sound = vowel().astype(float)
    assert np.abs(mcadams.shift_poles(sound, 1.0) - sound).max() < 1e-8


def test_mcadams_processes_the_first_frame() -> None:
    sound = vowel().astype(float)[2000:]
    assert not np.allclose(mcadams.shift_poles(sound, 0.8)[:160], sound[:160], atol=1e-4)


def test_moved_filters_are_real_stable_and_keep_real_poles() -> None:
    poles = np.array([0.9 * np.exp(1j * 0.6), 0.9 * np.exp(-1j * 0.6), 0.5, -0.4] + [0.0] * 16)
    filters = mcadams._polynomials(poles[None])
    again = np.roots(mcadams.moved(filters, 0.8)[0])
    angles = sorted(np.abs(np.angle(again[np.abs(again.imag) > 1e-3])))
    assert angles[-1] == pytest.approx(0.6**0.8, abs=1e-3)
    assert min(np.abs(again - 0.5)) < 1e-3
    assert (np.abs(again) < 1).all()


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("kind", ["one", "ten", "noise", "clipped", "chord", "constant"])
def test_sounds_that_are_no_speech_come_out_finite_and_bounded(method: str, kind: str) -> None:
    time = np.arange(8_000) / 16_000
    sound = {
        "one": np.ones(1),
        "ten": np.full(10, 0.2),
        "noise": np.random.default_rng(0).normal(0, 0.2, 8_000),
        "clipped": np.clip(vowel(0.5) * 30, -1, 1),
        "chord": sum(0.2 * np.sin(2 * np.pi * f * time) for f in (220, 277, 330, 440)),
        "constant": np.full(8_000, 0.5),
    }[kind].astype(np.float32)
    made = disguise(sound, 16_000, method=method, seed=2)  # type: ignore[arg-type]
    assert made is not None
    assert len(made.waveform) == len(sound)
    assert np.isfinite(made.waveform).all()
    assert np.abs(made.waveform).max() <= 1.0


def test_loudness_is_not_normalised() -> None:
    quiet, loud = (disguise(vowel(loud=level), 16_000, method="world", seed=1) for level in (0.02, 0.4))
    assert quiet is not None
    assert loud is not None
    assert np.abs(quiet.waveform).max() < 0.06
    assert np.abs(loud.waveform).max() > 0.25


def test_silence_stays_silence_and_nothing_stays_nothing() -> None:
    made = disguise(np.zeros(4_000, dtype=np.float32), 16_000, method="world", seed=1)
    assert made is not None
    assert not made.waveform.any()
    assert made.figures == {"voice_silent": 1.0}
    assert disguise(np.zeros(0, dtype=np.float32), 16_000, method="world", seed=1) is None


@pytest.mark.parametrize("sound", [np.array([0.1, np.nan]), np.array([np.inf, 0.0]), np.zeros((2, 100))])
def test_bad_sound_rejects_the_clip(sound: np.ndarray) -> None:
    with pytest.raises(DeidError) as caught:
        disguise(sound.astype(np.float32), 16_000, method="world", seed=1)
    assert (caught.value.stage, caught.value.reason) == ("voice", "bad_audio")


def test_no_figure_tells_the_parameter() -> None:
    figures = []
    for seed in range(3):
        made = disguise(vowel(), 16_000, method="world", seed=seed)
        assert made is not None
        figures.append(made.figures)
    assert all(
        set(each)
        <= {"f0_correlation", "f0_error_semitones", "loudness_correlation", "voiced_share", "voice_clipped_share"}
        for each in figures
    )
