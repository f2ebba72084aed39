import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from deemo_dist.errors import MediaError
from deemo_dist.media import Bounds, decode_here, encode_video, mux, probe

BOUNDS = Bounds(cpu_seconds=20, memory_mb=512)


def refused(path: Path, bounds: Bounds = BOUNDS) -> str:
    with pytest.raises(MediaError) as caught:
        decode_here(path, bounds)
    assert path.name not in str(caught.value)
    assert caught.value.stage == "decode"
    return caught.value.reason


def test_frames_times_and_rate(clip, frames):
    decoded = decode_here(clip, BOUNDS)
    assert decoded.frames.shape == frames.shape
    assert decoded.fps == 24
    assert np.allclose(decoded.frame_times, np.arange(30) / 24)
    assert decoded.waveform is None
    assert decoded.sample_rate == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"To whom it may concern,\nthis is a text.\n" * 20, "not_media"),
        (bytes(np.random.default_rng(0).integers(0, 256, 20000, np.uint8)), "not_media"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "not_media"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not_media"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(400), "corrupt"),
    ],
)
def test_what_is_no_media(tmp_path, content, reason):
    path = tmp_path / "ana_kovacs.mp4"
    path.write_bytes(content)
    assert refused(path) == reason


def test_what_is_not_there(tmp_path):
    assert refused(tmp_path / "nothing.mp4") == "missing"
    assert refused(tmp_path) == "missing"


def test_a_text_named_txt_is_not_shown_as_a_picture(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("a secret\n" * 100)
    assert refused(path) == "not_media"


def test_truncated_files(helpers, tmp_path, frames):
    noisy = np.random.default_rng(0).integers(0, 255, (60, 64, 64, 3), dtype=np.uint8)
    whole = helpers.write_video(tmp_path / "whole.mp4", noisy).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    assert refused(tmp_path / "cut.mp4") == "corrupt"
    for name in ("start.mp4", "start.mkv"):
        start = helpers.write_video(tmp_path / name, noisy, faststart=name.endswith("mp4")).read_bytes()
        (tmp_path / f"cut_{name}").write_bytes(start[: len(start) // 2])
        assert refused(tmp_path / f"cut_{name}") == "corrupt"


def test_damaged_bytes_inside(helpers, tmp_path):
    noisy = np.random.default_rng(0).integers(0, 255, (60, 64, 64, 3), dtype=np.uint8)
    data = bytearray(helpers.write_video(tmp_path / "whole.mp4", noisy, faststart=True).read_bytes())
    rng = np.random.default_rng(1)
    for place in rng.integers(len(data) // 4, len(data), 4000):
        data[place] = rng.integers(256)
    (tmp_path / "bad.mp4").write_bytes(data)
    assert refused(tmp_path / "bad.mp4") == "corrupt"


def test_sound_alone_has_no_video(helpers, tmp_path):
    assert refused(helpers.write_sound(tmp_path / "a.wav", helpers.tone(1, 8000), 8000)) == "no_video"


def test_a_clip_without_sound_is_fine(clip):
    assert not probe(clip).has_audio
    assert decode_here(clip, BOUNDS).waveform is None


def test_sound_is_in_sync_within_20_ms(helpers, tmp_path, frames):
    sound = helpers.tone(30 / 24, 44100, clicks=(0.25, 0.75))
    path = tmp_path / "clip.mp4"
    path.write_bytes(mux(encode_video(frames, 24), sound, 44100))
    decoded = decode_here(path, BOUNDS)
    assert decoded.sample_rate == 16000
    loud = np.flatnonzero(np.abs(decoded.waveform) > 0.3) / 16000
    assert abs(loud[0] - 0.25) < 0.02
    assert abs(loud[loud > 0.5][0] - 0.75) < 0.02
    assert abs(len(decoded.waveform) / 16000 - 30 / 24) < 0.05


@pytest.mark.parametrize(("rotation", "turned"), [(90, 1), (-90, -1), (180, 2)])
def test_rotation_metadata_is_applied(helpers, tmp_path, frames, rotation, turned):
    path = helpers.write_video(tmp_path / "turned.mp4", frames, rotation=rotation)
    decoded = decode_here(path, BOUNDS)
    plain = decode_here(helpers.write_video(tmp_path / "plain.mp4", frames), BOUNDS)
    assert np.array_equal(decoded.frames, np.rot90(plain.frames, turned, axes=(1, 2)))
    info = probe(path)
    assert (info.height, info.width) == decoded.frames.shape[1:3]


def test_a_portrait_phone_video_is_upright(helpers, tmp_path, frames):
    """A phone's matrix (0 1 / -1 0) asks for a quarter turn clockwise: the left edge comes to the top."""
    data = bytearray(helpers.write_video(tmp_path / "a.mp4", frames).read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    (tmp_path / "phone.mp4").write_bytes(data)
    shown = decode_here(tmp_path / "phone.mp4", BOUNDS).frames[0]
    assert shown.shape == (64, 48, 3)
    assert shown[5, 5, 0] > 150  # red was bottom left, so it is now top left
    assert shown[60, 5, 2] > 150
    assert probe(tmp_path / "phone.mp4").rotation == 90


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "size"),
    [
        ("odd.mkv", "ffv1", "bgr0", (47, 63)),
        ("ten.mkv", "ffv1", "yuv420p10le", (48, 64)),
        ("ten.mp4", "libx265", "yuv420p10le", (64, 64)),
        ("web.webm", "libvpx-vp9", "yuv420p", (48, 64)),
        ("old.avi", "mpeg4", "yuv420p", (48, 64)),
        ("one.mkv", "ffv1", "bgr0", (1, 1)),
    ],
)
def test_codecs_depths_and_sizes(helpers, tmp_path, name, codec, pix_fmt, size):
    frames = np.stack([helpers.picture(number, *size) for number in range(12)])
    options = {"x265-params": "log-level=none:pools=1"} if codec == "libx265" else {}
    decoded = decode_here(
        helpers.write_video(tmp_path / name, frames, codec=codec, pix_fmt=pix_fmt, options=options), BOUNDS
    )
    assert decoded.frames.shape == frames.shape
    assert np.abs(decoded.frames[:, 0].astype(int) - frames[:, 0]).mean() < 30
    assert decoded.fps == pytest.approx(24, rel=0.01)


def test_a_variable_rate_keeps_its_duration(tmp_path, frames):
    times = np.cumsum(np.concatenate([[0.0], np.random.default_rng(0).uniform(0.02, 0.2, 29)]))
    path = tmp_path / "vfr.mp4"
    path.write_bytes(encode_video(frames, 10, times=times))
    decoded = decode_here(path, BOUNDS)
    assert np.abs(decoded.frame_times - times).max() < 1e-3
    again = encode_video(decoded.frames, decoded.fps, times=decoded.frame_times)
    assert probe(again).seconds == pytest.approx(probe(path).seconds, abs=1e-3)


def test_the_rate_24000_1001_survives_decode_and_encode(helpers, tmp_path, frames):
    path = helpers.write_video(tmp_path / "film.mp4", frames, rate=Fraction(24000, 1001))
    decoded = decode_here(path, BOUNDS)
    assert probe(encode_video(decoded.frames, decoded.fps, times=decoded.frame_times)).fps == Fraction(24000, 1001)


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        (Bounds(max_pixels=48 * 64 - 1), "too_large"),
        (Bounds(max_frames=29), "too_long"),
        (Bounds(max_seconds=1.0), "too_long"),
        (Bounds(memory_mb=0), "too_large"),
    ],
)
def test_bounds_refuse(clip, bounds, reason):
    assert refused(clip, bounds) == reason


def test_a_decompression_bomb_is_refused_before_decoding(helpers, tmp_path):
    """A small file of a few blank but huge frames."""
    blank = np.zeros((1, 2160, 3840, 3), np.uint8).repeat(2, 0)
    path = helpers.write_video(tmp_path / "bomb.mp4", blank, options={"preset": "ultrafast"})
    assert path.stat().st_size < 100_000
    assert refused(path, Bounds(max_pixels=1920 * 1080)) == "too_large"
    assert refused(path, Bounds(memory_mb=40)) == "too_large"
