"""Sound of several channels and several speakers through the whole of it: names are heard on none of them."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deemo_dist.deid import Deidentifier
from deemo_dist.deid.text.asr import Listener
from deemo_dist.media import Bounds, Sandbox, VideoWriter, decode_flac, resample
from tests.unit.deid.conftest import make_clip
from tests.voices import RATE, speak

pytestmark = pytest.mark.slow
SIDES = {"stereo": (0, 1), "5.1": (2, 4)}
COUNT = {"stereo": 2, "5.1": 6}


def two_speakers() -> tuple[np.ndarray, np.ndarray]:
    """One after the other, the second with a voice a third higher: float32 [N] each, equally long, at 16 kHz."""
    first = speak("My name is Anna Keller and I was happy with my serve.")
    second = resample(speak("Thank you Sarah, it was a very good match."), RATE * 5 // 4, RATE)
    return np.pad(first, (0, len(second))), np.pad(second, (len(first), 0))


def written(path: Path, layout: str, rate: int) -> int:
    """A grey picture with two speakers on channels of their own; how many samples there are at 16 kHz."""
    voices = two_speakers()
    channels = np.zeros((COUNT[layout], round(len(voices[0]) * rate / RATE)), np.float32)
    for side, voice in zip(SIDES[layout], voices, strict=True):
        made = resample(voice, RATE, rate) if rate != RATE else voice
        channels[side, : len(made)] = made[: channels.shape[1]]
    with av.open(str(path), "w", format="matroska") as container:
        video = container.add_stream("libx264", rate=2)
        video.height, video.width, video.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=rate, layout=layout)
        for _ in range(int(2 * len(voices[0]) / RATE)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")))
        container.mux(video.encode(None))
        for start in range(0, channels.shape[1], 4096):
            part = (channels[:, start : start + 4096] * 32767).astype(np.int16).T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return len(voices[0])


@pytest.mark.parametrize(("layout", "rate"), [("stereo", 48_000), ("5.1", 44_100), ("stereo", 8_000)])
def test_names_on_any_channel_are_gone_and_the_rest_is_heard(
    deidentifier: Deidentifier, tmp_path: Path, layout: str, rate: int
) -> None:
    count = written(tmp_path / "a.mkv", layout, rate)
    with Sandbox() as sandbox, VideoWriter(io.BytesIO()) as writer:
        source = sandbox.open(tmp_path / "a.mkv", Bounds(memory_mb=1024))
        made = deidentifier(make_clip(uri=(tmp_path / "a.mkv").as_uri(), subject="Somebody Else"), source, writer)
    assert made.flac is not None
    assert abs(made.samples - count) <= 0.02 * RATE
    assert made.attestation.figures["sync_sound_ms"] <= 20
    assert made.attestation.figures["muted_seconds"] > 0.5
    said = (made.transcript or "").lower()
    heard = Listener()(decode_flac(made.flac), RATE).text.lower()
    for name in ("anna", "keller", "sarah"):
        assert name not in heard
        assert name not in said
    assert "name" in heard
    assert "match" in heard
