from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from deemo_dist.media import encode_video


def picture(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A frame whose top half tells its number by brightness; the bottom's left is red, its right blue."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2] = 20 + 6 * number
    image[height // 2 :, : width // 2, 0] = 220
    image[height // 2 :, width // 2 :, 2] = 220
    return image


@pytest.fixture
def frames() -> np.ndarray:
    return np.stack([picture(number) for number in range(30)])


@pytest.fixture
def clip(tmp_path: Path, frames: np.ndarray) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(encode_video(frames, 24))
    return path


def write_video(
    path: Path,
    frames: np.ndarray,
    *,
    rate: int | Fraction = 24,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    faststart: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """A foreign file: whatever codec, pixel format, rotation."""
    flags = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", options=flags) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        stream.options = options or {}
        if rotation:
            stream.set_display_rotation(rotation)
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)))
        container.mux(stream.encode(None))
    return path


def tone(seconds: float, rate: int, *, clicks: tuple[float, ...] = ()) -> np.ndarray:
    """Silence with short clicks at the given seconds."""
    samples = np.zeros(round(seconds * rate), np.float32)
    for click in clicks:
        start = round(click * rate)
        samples[start : start + rate // 200] = 0.8
    return samples


def write_sound(path: Path, samples: np.ndarray, rate: int, codec: str = "pcm_s16le") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        pcm = (samples * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def helpers() -> SimpleNamespace:
    """Makers of foreign files."""
    return SimpleNamespace(picture=picture, write_video=write_video, tone=tone, write_sound=write_sound)
