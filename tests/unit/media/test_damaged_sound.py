"""Sound that does not decode: a little becomes silence in its place, more rejects the clip.

Packets of MP3 and Opus carry no check of their own: most damage there decodes, to noise, and noise is what is released.
"""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deemo_dist.errors import MediaError
from deemo_dist.media import Bounds, decode_here

RATE, SECONDS = 16_000, 3
CLICKS = (0.5, 1.5, 2.5)
KINDS = (("aac", "mp4"), ("flac", "matroska"), ("libmp3lame", "mp4"), ("aac", "mpegts"))


def clip(codec: str, kind: str, frames: np.ndarray) -> bytearray:
    """Three seconds of a low tone with clicks, and a picture that stands."""
    time = np.arange(RATE * SECONDS) / RATE
    sound = (0.3 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)
    for click in CLICKS:
        sound[int(click * RATE) : int(click * RATE) + 80] = 0.95
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        video = container.add_stream("libx264", rate=24)
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream = container.add_stream(codec, rate=RATE, layout="mono")
        for number in range(24 * SECONDS):
            container.mux(video.encode(av.VideoFrame.from_ndarray(frames[number % len(frames)], format="rgb24")))
        container.mux(video.encode(None))
        step = stream.codec_context.frame_size or 1024
        for start in range(0, len(sound), step):
            part = sound[None, start : start + step]
            samples = (part * 32767).astype(np.int16) if codec == "flac" else np.ascontiguousarray(part)
            frame = av.AudioFrame.from_ndarray(samples, format="s16" if codec == "flac" else "fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return bytearray(buffer.getvalue())


def damage(data: bytearray, packets: slice) -> bytearray:
    """``data`` with those packets of sound overwritten; where the container frames them, behind that."""
    behind = 0 if data[4:8] == b"ftyp" else 10
    with av.open(io.BytesIO(bytes(data))) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size]
    noise = np.random.default_rng(3)
    for position, size in places[packets]:
        start = min(position + behind, position + size - 1)
        data[start : position + size] = noise.integers(0, 256, position + size - start, dtype=np.uint8).tobytes()
    return data


@pytest.mark.parametrize(("codec", "kind"), KINDS)
def test_a_lost_packet_is_silence_and_moves_nothing(codec: str, kind: str, tmp_path: Path, frames: np.ndarray) -> None:
    path = tmp_path / "a"
    path.write_bytes(damage(clip(codec, kind, frames), slice(14, 15)))
    waveform = decode_here(path, Bounds()).waveform
    assert waveform is not None
    assert abs(len(waveform) / RATE - SECONDS) < 0.05
    for click in (1.5, 2.5):
        first, last = (round((click + side) * RATE) for side in (-0.2, 0.2))
        assert abs((first + np.argmax(np.abs(waveform[first:last]) > 0.8)) / RATE - click) < 0.005


@pytest.mark.parametrize(("codec", "kind"), [each for each in KINDS if each[0] != "libmp3lame"])
@pytest.mark.parametrize("packets", [slice(0, None, 5), slice(20, 30)], ids=["scattered", "in a row"])
def test_more_than_a_twentieth_lost_rejects_the_clip(
    codec: str, kind: str, packets: slice, tmp_path: Path, frames: np.ndarray
) -> None:
    path = tmp_path / "a"
    path.write_bytes(damage(clip(codec, kind, frames), packets))
    with pytest.raises(MediaError) as caught:
        decode_here(path, Bounds())
    assert caught.value.reason == "bad_audio"


def test_sound_that_never_decodes_rejects_the_clip(tmp_path: Path, frames: np.ndarray) -> None:
    path = tmp_path / "a"
    path.write_bytes(damage(clip("aac", "mp4", frames), slice(None)))
    with pytest.raises(MediaError, match="sound") as caught:
        decode_here(path, Bounds())
    assert caught.value.reason == "bad_audio"
