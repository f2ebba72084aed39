"""What the tests of the de-identification room share: a policy, a key, clips out of the pinned packages."""

import fractions
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deemo_dist.config import KeysConfig, PolicyConfig
from deemo_dist.deid import Deidentifier, DeidResult, KeyRing
from deemo_dist.media import ClipSource, DecodedClip, MemoryClip, VideoWriter
from deemo_dist.records import Clip

SECRET = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f"


@pytest.fixture(scope="session")
def ring() -> KeyRing:
    return KeyRing.open(KeysConfig(source="demo"), dataset="test")


@pytest.fixture(scope="session")
def deidentifier(ring: KeyRing) -> Deidentifier:
    return Deidentifier(PolicyConfig(), ring)


def make_clip(**changes: object) -> Clip:
    values = {"uri": "file:///raw/anna_keller_01.mp4", "subject": "Anna Keller", "split": "train", "source": "test"}
    return Clip(**{"size_bytes": 1, **values, **changes})  # type: ignore[arg-type]


class Recorder(VideoWriter):
    """Keeps what it is given, beside writing it."""

    def __init__(self) -> None:
        self.buffer = io.BytesIO()
        self.kept: list[np.ndarray] = []
        super().__init__(self.buffer)

    def begin(self, **told: Any) -> None:
        self.kept.clear()
        super().begin(**told)

    def write(self, frame: np.ndarray, time: float | None = None) -> None:
        self.kept.append(frame.copy())
        super().write(frame, time)


def deidentify(
    deidentifier: Deidentifier, clip: Clip, source: DecodedClip | ClipSource
) -> tuple[DeidResult, np.ndarray]:
    """The result, and the masked frames as they were given to the encoder: uint8 [T, H, W, 3]."""
    with Recorder() as writer:
        made = deidentifier(clip, MemoryClip(source) if isinstance(source, DecodedClip) else source, writer)
    return made, np.stack(writer.kept)


def footage(name: str, *, start: int = 0, count: int = 60) -> DecodedClip:
    """``count`` frames of a real clip, without sound."""
    import av

    from deemo_dist.weights import fetch

    frames, fps = [], fractions.Fraction(25)
    with av.open(str(fetch(name))) as container:
        fps = container.streams.video[0].average_rate or fps
        for number, frame in enumerate(container.decode(video=0)):
            if start <= number < start + count:
                frames.append(frame.to_ndarray(format="rgb24"))
    return DecodedClip(
        frames=np.stack(frames),
        frame_times=np.arange(len(frames)) / float(fps),
        fps=float(fps),
        waveform=None,
        sample_rate=16_000,
    )


def blank(frames: int = 12, side: int = 64) -> DecodedClip:
    """Grey frames: nobody is there."""
    return DecodedClip(
        frames=np.full((frames, side, side, 3), 90, dtype=np.uint8),
        frame_times=np.arange(frames) / 8.0,
        fps=8.0,
        waveform=None,
        sample_rate=16_000,
    )


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "root.key"
    path.write_text(SECRET + "\n")
    return path
