"""Memory does not grow with a clip's length."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deemo_dist.media import VideoWriter, mux

SCRIPT = Path(__file__).parent / "functions" / "long_clip.py"
MOST_MIB = 680  # of the whole tree, shared pages counted once; 410 of it are the models


def write_long(path: Path, *, seconds: int, fps: int) -> None:
    """1080p that is cheap to make: a still scene that jumps now and then, with a hum."""
    scene = np.random.default_rng(0).integers(60, 200, (27, 48, 3)).astype(np.uint8)
    still = np.kron(scene, np.ones((40, 40, 1), np.uint8))
    with VideoWriter(path, preset="ultrafast", crf=30) as writer:
        writer.begin(width=1920, height=1080, fps=fps, times=np.arange(seconds * fps) / fps)
        for number in range(seconds * fps):
            writer.write(still if number % 20 else np.roll(still, number, axis=1))
        writer.close()
    hum = (0.1 * np.sin(np.arange(seconds * 16_000) / 25)).astype(np.float32)
    path.write_bytes(mux(path.read_bytes(), hum, 16_000))


@pytest.mark.slow
def test_a_minute_of_1080p_takes_no_more_memory_than_a_moment(tmp_path: Path) -> None:
    """120 frames are 711 MiB decoded: kept, they would break the bound by themselves."""
    path = tmp_path / "long.mp4"
    write_long(path, seconds=60, fps=2)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["frames"] == 120
    assert abs(found["sound"] / 16_000 - 60) < 0.1
    assert MOST_MIB < 120 * 1920 * 1080 * 3 / 2**20
    assert found["Pss"] < MOST_MIB, found
