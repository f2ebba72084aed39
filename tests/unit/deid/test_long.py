"""Memory does not grow with a clip's length."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deemo_dist.media import VideoWriter, mux
from tests.voices import RATE, speak

SCRIPT = Path(__file__).parent / "functions" / "long_clip.py"
MOST = 600e6  # bytes of the whole tree, shared pages counted once


def write_long(path: Path, *, seconds: int, fps: int, sound: int) -> None:
    """1080p that is cheap to make: a still scene that jumps now and then; and ``sound`` seconds of a hum with some
    words, which may last longer than the picture."""
    scene = np.random.default_rng(0).integers(60, 200, (27, 48, 3)).astype(np.uint8)
    still = np.kron(scene, np.ones((40, 40, 1), np.uint8))
    with VideoWriter(path, preset="ultrafast", crf=30) as writer:
        writer.begin(width=1920, height=1080, fps=fps, times=np.arange(seconds * fps) / fps)
        for number in range(seconds * fps):
            writer.write(still if number % 20 else np.roll(still, number, axis=1))
        writer.close()
    hum, words = (0.1 * np.sin(np.arange(sound * RATE) / 25)).astype(np.float32), speak("My name is Anna Keller.")
    for at in (RATE, len(hum) // 2):
        hum[at : at + len(words)] = words
    path.write_bytes(mux(path.read_bytes(), hum, RATE))


@pytest.mark.slow
def test_long_1080p_takes_no_more_memory_than_a_moment(tmp_path: Path) -> None:
    """120 frames are 746 MB decoded, and ten minutes of sound 38 MB a copy, of which there were five once: kept, either
    would break the bound. Words are heard and muted on the way."""
    path = tmp_path / "long.mp4"
    write_long(path, seconds=60, fps=2, sound=600)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["frames"] == 120
    assert abs(found["sound"] / RATE - 600) < 0.1
    assert found["muted"] > 0
    assert MOST < 120 * 1920 * 1080 * 3
    assert found["Pss"] < MOST, found
