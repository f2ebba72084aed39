"""Frames of a video read back by the writer that made it: what any reader decodes, without the rest of the file."""

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from deemo_dist.errors import CorruptDataError
from deemo_dist.media import VideoWriter, decode_frames

COUNT = 60
STEADY = np.arange(COUNT) / 25
UNSTEADY = np.cumsum(np.random.default_rng(1).uniform(0.02, 0.2, COUNT))


class Counted(io.BytesIO):
    """A file that counts the bytes read of it."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        self.taken += len(found)
        return found


def noise(width: int = 96, height: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (COUNT, height, width, 3), dtype=np.uint8)


def written(target: Path | io.BytesIO, frames: np.ndarray, times: np.ndarray, fps: Fraction) -> VideoWriter:
    """The writer of ``frames``, closed."""
    writer = VideoWriter(target)
    writer.begin(width=frames.shape[2], height=frames.shape[1], fps=fps, times=times)
    for frame in frames:
        writer.write(frame)
    writer.close()
    return writer


@pytest.mark.parametrize("times", [STEADY, UNSTEADY, STEADY * 25 * 1001 / 24000], ids=["25", "variable", "23.976"])
@pytest.mark.parametrize("where", ["memory", "file"])
def test_every_frame_is_the_one_that_a_reader_decodes(times: np.ndarray, where: str, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    target = io.BytesIO() if where == "memory" else path
    rate = Fraction(24000, 1001) if times[1] > 0.041 and times is not UNSTEADY else Fraction(25)
    writer = written(target, noise(95, 63), times, rate)
    data = path.read_bytes() if isinstance(target, Path) else target.getvalue()
    for number, frame in reversed(list(enumerate(decode_frames(data)))):
        assert np.array_equal(writer.shown(number), frame)
    if isinstance(target, io.BytesIO):
        assert target.getvalue() == data


def test_no_more_of_the_file_is_read_than_a_group_of_pictures() -> None:
    file = Counted()
    writer, size = written(file, noise(320, 240), STEADY, Fraction(25)), len(file.getvalue())
    assert size > 2**20
    file.taken = 0
    writer.shown(0)
    assert file.taken < size / 4


def test_a_frame_that_is_not_there_and_a_file_that_is_gone_are_said() -> None:
    file = io.BytesIO()
    writer = written(file, noise(), STEADY, Fraction(25))
    for number in (-1, COUNT):
        with pytest.raises(IndexError):
            writer.shown(number)
    file.seek(0)
    file.truncate()
    with pytest.raises(CorruptDataError):
        writer.shown(0)
