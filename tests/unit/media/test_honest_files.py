"""Files that are whole although their headers look odd: none is rejected, and each comes out as long as it came in."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deemo_dist.deid.gates import check_sync
from deemo_dist.errors import DeidError, MediaError
from deemo_dist.media import Bounds, Sandbox, decode_here, encode_video, probe
from tests.unit.media.test_stream import BOUNDS, looked, released


def timed(
    path: Path,
    frames: np.ndarray,
    times: Sequence[float],
    *,
    rate: int = 30,
    sound: float = 0.0,
    codec: str = "libx264",
) -> Path:
    """Frames shown at ``times`` (seconds) in a file that declares ``rate``, with ``sound`` seconds of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.options = {"bf": "0"} if codec == "libx264" else {}
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        heard = container.add_stream("pcm_s16le", rate=8000, layout="mono") if sound else None
        for image, when in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(1000 * when), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if heard is not None:
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, round(8000 * sound)), np.int16), format="s16", layout="mono"
            )
            silence.sample_rate = 8000
            container.mux(heard.encode(silence))
            container.mux(heard.encode(None))
    return path


def hiccups(kind: str) -> np.ndarray:
    steps = np.full(300, 1 / 30)
    if kind == "one frame dropped":
        steps[150] *= 2
    elif kind == "three frames dropped":
        steps[[50, 150, 250]] *= 2
    elif kind == "a pause":
        steps[100] = 0.1
    else:
        steps[:] = 1 / 29.97
    return np.cumsum(steps) - steps[0]


@pytest.mark.parametrize("kind", ["one frame dropped", "three frames dropped", "a pause", "a slower camera"])
@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_a_rate_that_is_a_little_off_is_no_fault_of_sync(
    tmp_path: Path, frames: np.ndarray, kind: str, name: str
) -> None:
    path = timed(tmp_path / name, np.tile(frames, (10, 1, 1, 1)), hiccups(kind))
    with Sandbox() as sandbox:
        source = sandbox.open(path, BOUNDS)
        times, data = released(source)
    figures = check_sync(source.info, times, probe(data), None)
    assert figures["sync_rate_frames"] < 0.5
    assert len(times) == 300


def test_another_rate_is_a_fault_of_sync() -> None:
    one, two = (probe(encode_video(np.zeros((60, 32, 32, 3), np.uint8), rate)) for rate in (30, 29))
    assert check_sync(one, np.arange(60) / 30, one, None)["sync_rate_frames"] < 0.01
    with pytest.raises(DeidError, match="not as long"):
        check_sync(one, np.arange(60) / 30, two, None)


@pytest.mark.parametrize("name", ["a.mkv", "a.flv"])
def test_sound_may_outlast_the_picture_in_every_pass(tmp_path: Path, frames: np.ndarray, name: str) -> None:
    path = timed(tmp_path / name, frames, np.arange(30) / 30, sound=2.0)
    with Sandbox() as sandbox:
        source = sandbox.open(path, BOUNDS, keep_bytes=0)
        first = looked(source)
        again = looked(source)
    assert first[0] == again[0]
    assert len(first[0]) == 30


def test_a_last_frame_that_is_held_is_no_missing_part(tmp_path: Path, frames: np.ndarray) -> None:
    times = np.append(np.arange(29) / 30, 29 / 30)
    timed(tmp_path / "a.mp4", frames, times)
    held = tmp_path / "held.mp4"
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(held), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet in packets:
            packet.stream = stream
            packet.duration = round(0.5 / packet.time_base) if packet is packets[-1] else packet.duration
            target.mux(packet)
    with av.open(str(held)) as container:
        video = container.streams.video[0]
        assert float(video.duration * video.time_base) > 1.4
    assert len(decode_here(held, BOUNDS).frames) == 30


def test_what_an_index_promises_and_the_file_does_not_hold_is_missed(
    helpers, tmp_path: Path, frames: np.ndarray
) -> None:
    path = helpers.write_video(tmp_path / "a.mp4", np.tile(frames, (4, 1, 1, 1)), faststart=True, options={"g": "1"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(MediaError) as caught:
        decode_here(path, BOUNDS)
    assert caught.value.reason == "corrupt"


def test_the_rate_of_a_clock_is_not_believed(tmp_path: Path, frames: np.ndarray) -> None:
    """Recorders in browsers write the rate of their clock, a thousand ticks a second."""
    times = np.arange(90) / 30
    path = timed(tmp_path / "a.webm", np.tile(frames, (3, 1, 1, 1)), times, rate=1000, codec="libvpx")
    with Sandbox() as sandbox:
        source = sandbox.open(path, Bounds(max_frames=1000, cpu_seconds=20, memory_mb=1024))
        assert np.allclose(looked(source)[0], times, atol=2e-3)
    assert source.info.frames == 90
    assert float(source.info.fps) == pytest.approx(30, rel=0.02)
