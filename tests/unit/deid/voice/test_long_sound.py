"""A long sound that is never whole in memory: heard, muted and disguised as one that is."""

import numpy as np
import pytest

from deemo_dist.deid.text.asr import Listener
from deemo_dist.deid.voice import disguise as voice
from deemo_dist.deid.voice.muting import Muted
from deemo_dist.errors import DeidError
from deemo_dist.media import FlacWriter, Tape, encode_flac
from tests.unit.deid.voice.test_disguise import vowel
from tests.voices import disguise, speak

RATE = 16_000


def tape(sound: np.ndarray) -> Tape:
    return Tape(lambda: iter(np.array_split(sound, max(1, len(sound) // 15_000))), len(sound))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["world", "mcadams", "prosody"])
def test_a_tape_is_disguised_as_an_array_is(method: voice.Method) -> None:
    sound, mutes = np.tile(vowel(3.0), 30), [(3.0, 4.5), (24.0, 31.0), (88.0, 99.0)]
    wanted = disguise(sound, RATE, method=method, seed=4, mutes=mutes)
    writer = FlacWriter()
    figures = voice.disguise_into(tape(sound), RATE, writer.write, method=method, seed=4, mutes=mutes)
    assert wanted is not None
    assert figures == wanted.figures
    assert writer.close() == encode_flac(wanted.waveform)
    for start, end in mutes:
        assert not wanted.waveform[round(start * RATE) : round(end * RATE)].any()


@pytest.mark.slow
def test_a_tape_is_heard_as_an_array_is() -> None:
    said = np.concatenate([np.zeros(30 * RATE, np.float32), speak("My name is Anna Keller.")] * 3)
    listener = Listener()
    heard = listener(said, RATE)
    assert heard == listener(tape(said), RATE)
    assert "anna" in heard.text.lower()


@pytest.mark.parametrize("count", [1, 512, 700, 1000 * 512, 1000 * 512 + 1, 5000 * 512 + 77])
def test_the_voice_detector_says_what_it_says_of_the_whole(count: int) -> None:
    """faster-whisper's own way takes the sound at once, and some 7 MB a second of it."""
    listener = Listener()
    sound = np.resize(vowel(3.0), count)
    whole = np.asarray(listener._detector(np.pad(sound, (0, -count % 512))), np.float32).reshape(-1)
    assert np.array_equal(listener._probabilities(tape(sound)), whole)


def test_a_part_of_a_muted_sound_is_that_part_of_the_whole() -> None:
    sound = np.random.default_rng(0).normal(0, 0.3, 2 * RATE).astype(np.float32)
    muted = Muted(sound, [(0.2, 0.4), (0.402, 0.41), (1.0, 1.0005), (1.9, 7.0)])
    whole = muted[:]
    assert not np.array_equal(whole, sound)
    for low, high in ((0.2, 0.4), (0.402, 0.41), (1.0, 1.0005), (1.9, 2.0)):
        assert not whole[round(low * RATE) : round(high * RATE)].any()
    for start in range(0, len(sound), 37):
        assert np.array_equal(muted[start : start + 61], whole[start : start + 61])


@pytest.mark.parametrize("method", ["world", "drop"])
def test_what_is_not_finite_is_refused_before_anything_is_written(method: voice.Method) -> None:
    sound = np.tile(vowel(3.0), 30)
    sound[-3] = np.nan
    written: list[np.ndarray] = []
    for mutes in ([], [(80.0, 99.0)]):
        with pytest.raises(DeidError) as caught:
            voice.disguise_into(tape(sound), RATE, written.append, method=method, seed=1, mutes=mutes)
        assert (caught.value.stage, caught.value.reason) == ("voice", "bad_audio")
    with pytest.raises(DeidError):
        Listener()(tape(sound), RATE)
    assert not written


def test_a_long_silence_is_silence() -> None:
    written: list[np.ndarray] = []
    figures = voice.disguise_into(tape(np.zeros(70 * RATE, np.float32)), RATE, written.append, method="world", seed=1)
    assert figures == {"voice_silent": 1.0}
    assert sum(map(len, written)) == 70 * RATE
    assert not any(block.any() for block in written)
