import io
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.errors import CorruptDataError
from deemo_dist.media import (
    decode_flac,
    decode_frames,
    encode_flac,
    encode_video,
    mux,
    poster,
    probe,
    rational_rate,
    resample,
    sample_indices,
)


def brightness(images: np.ndarray) -> np.ndarray:
    return images[:, :20].mean((1, 2, 3))


def test_the_same_frames_give_the_same_bytes(frames):
    assert encode_video(frames, 24) == encode_video(frames.copy(), 24)
    sound = np.sin(np.arange(16000) / 20).astype(np.float32) * 0.4
    assert encode_flac(sound) == encode_flac(sound)
    assert mux(encode_video(frames, 24), sound, 16000) == mux(encode_video(frames, 24), sound, 16000)


def test_an_encoded_video_names_no_tool_and_no_time(frames):
    data = encode_video(frames, 24)
    assert b"Lavf" not in data
    assert b"creation" not in data


@pytest.mark.parametrize(
    ("fps", "exact"),
    [(23.976, Fraction(24000, 1001)), (24000 / 1001, Fraction(24000, 1001)), (29.97, Fraction(30000, 1001)), (8, 8)],
)
def test_the_true_frame_rate_is_kept(frames, fps, exact):
    info = probe(encode_video(frames, fps))
    assert info.fps == exact
    assert info.frames == len(frames)
    assert info.seconds == pytest.approx(float(len(frames) / Fraction(exact)), abs=1e-6)


def test_a_rate_that_makes_no_sense_is_refused(frames):
    for fps in (0, -1, 1e9, float("nan")):
        with pytest.raises(ValueError, match="makes no sense"):
            encode_video(frames, fps)
    assert rational_rate(Fraction(7, 3)) == Fraction(7, 3)


def test_a_variable_rate_keeps_every_time(frames):
    times = np.cumsum(np.concatenate([[0.0], np.random.default_rng(0).uniform(0.02, 0.2, len(frames) - 1)]))
    data = encode_video(frames, 10, times=times)
    assert probe(data).frames == len(frames)
    shown = decode_frames(data, times=times + 0.005)
    assert np.abs(brightness(shown) - brightness(frames)).max() < 3


def test_times_that_do_not_increase_are_refused(frames):
    with pytest.raises(ValueError, match="increasing"):
        encode_video(frames, 10, times=np.zeros(len(frames)))


@pytest.mark.parametrize("shape", [(3, 33, 65), (3, 1, 1), (2, 47, 64)])
def test_odd_sizes_grow_by_a_repeated_line(shape):
    frames = np.full((*shape, 3), 90, np.uint8)
    info = probe(encode_video(frames, 8))
    assert (info.height, info.width) == (shape[1] + shape[1] % 2, shape[2] + shape[2] % 2)


def test_frames_of_another_kind_are_refused():
    for wrong in (np.zeros((0, 8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            encode_video(wrong, 8)


def test_colours_survive(frames):
    shown = decode_frames(encode_video(frames, 24, crf=10), np.array([5]))[0]
    assert np.abs(shown[40, 10].astype(int) - frames[5, 40, 10]).max() < 14
    assert np.abs(shown[40, 50].astype(int) - frames[5, 40, 50]).max() < 14


@settings(max_examples=20, deadline=None)
@given(frames=st.integers(1, 500), count=st.integers(1, 64))
def test_sampled_frames_are_in_range_in_order_and_mid_bin(frames, count):
    found = sample_indices(frames, count)
    assert len(found) == count
    assert found.min() >= 0
    assert found.max() < frames
    assert np.all(np.diff(found) >= 0)
    assert np.all(found + found[::-1] >= frames - 2)
    assert np.all(found + found[::-1] <= frames)


def test_sampled_reading_gives_the_frames_asked_for(frames):
    long = np.concatenate([frames, frames[::-1], frames])
    data = encode_video(long, 24)
    wanted = np.array([70, 3, 3, 89, 0])
    assert np.abs(brightness(decode_frames(data, wanted)) - brightness(long[wanted])).max() < 3
    assert len(decode_frames(data)) == 90


def test_reading_what_is_not_there(frames):
    data = encode_video(frames, 24)
    with pytest.raises(IndexError):
        decode_frames(data, np.array([30]))
    for broken in (b"", b"text", data[: len(data) // 2]):
        with pytest.raises(CorruptDataError):
            decode_frames(broken, np.array([0]))


def test_flac_keeps_16_bits_and_level():
    sound = (np.random.default_rng(0).integers(-32768, 32768, 5000) / 32768).astype(np.float32)
    assert np.array_equal(decode_flac(encode_flac(sound)), sound)
    assert decode_flac(encode_flac(np.array([2.0, -2.0], np.float32))).tolist() == [32767 / 32768, -1.0]


def test_flac_of_another_form_is_refused():
    with pytest.raises(CorruptDataError, match="8000"):
        decode_flac(encode_flac(np.zeros(100, np.float32), 8000))
    with pytest.raises(CorruptDataError):
        decode_flac(b"not flac")
    with pytest.raises(ValueError, match="finite"):
        encode_flac(np.array([np.nan], np.float32))


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resampling_keeps_time_and_tone(rate):
    time = np.arange(rate) / rate
    out = resample(np.sin(2 * np.pi * 440 * time).astype(np.float32), rate)
    assert out.dtype == np.float32
    assert len(out) == 16000
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert np.abs(out - expected)[200:-200].max() < 0.01


def test_a_poster_is_a_small_png(frames):
    assert poster(encode_video(frames, 24), width=32).startswith(b"\x89PNG")


def test_small_pictures_give_the_same_bytes_every_time() -> None:
    rows, columns = np.mgrid[:120, :160]
    frames = np.stack([128 + 90 * np.sin((columns + 3 * at) / 9) * np.cos((rows - at) / 7) for at in range(30)])
    noise = np.random.default_rng(0).normal(0, 6, (30, 120, 160, 3))
    moving = np.clip(frames[..., None] + noise, 0, 255).astype(np.uint8)
    assert len({encode_video(moving, 24) for _ in range(40)}) == 1


def test_of_a_long_clip_the_beginning_is_kept_whole(frames):
    """Each frame decodes, though its neighbours in time may be stored after it."""
    data = encode_video(np.concatenate([frames, frames]), 24)
    sound = np.sin(np.arange(10 * 16000) / 20).astype(np.float32) * 0.4
    short = mux(data, sound, 16000, seconds=1.0)
    with av.open(io.BytesIO(short)) as container:
        kept = list(container.decode(video=0))
    with av.open(io.BytesIO(short)) as container:
        heard = sum(frame.samples for frame in container.decode(audio=0))
    assert 22 <= len(kept) <= 26 and len(kept) < 2 * len(frames)
    assert 16000 <= heard <= 17 * 1024
    assert mux(data, sound, 16000, seconds=60.0) == mux(data, sound, 16000)
